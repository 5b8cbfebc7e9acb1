// Precompiled by the test programs that speak gRPC.
#pragma once

#include "proto/pch_grpc.h"
#include "tests/support/pch.h"
