// Precompiled by everything that speaks gRPC. Without the stubs: few files need them, and they weigh as much as all the
// rest together.
#pragma once

#include <grpcpp/grpcpp.h>

#include "base/pch.h"
#include "base/v1/service.pb.h"
