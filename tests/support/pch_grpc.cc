#include "tests/support/pch_grpc.h"
