// The settings of each kind of sink, one function a kind.
#pragma once

#include "base/settings.h"
#include "sinks/table.h"

namespace headgate::relay {

void describe_kind(Settings& s, sinks::KindSettings& settings);

}  // namespace headgate::relay
