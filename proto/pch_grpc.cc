#include "proto/pch_grpc.h"
