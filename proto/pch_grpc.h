// Precompiled by everything that speaks gRPC: the slow headers, parsed once.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/v1/service.grpc.pb.h"
#include "headgate/v1/feed.grpc.pb.h"
