// Precompiled by the engine's folders without gRPC: what base/pch.h has, the values of base.v1 and PostgreSQL's client.
#pragma once

#include <pqxx/pqxx>

#include "base/pch.h"
#include "base/v1/base.pb.h"
