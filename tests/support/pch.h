// Precompiled by the test programs: what the programs themselves have, and doctest. Not <nlohmann/json.hpp>: it makes
// every source instantiate its parser, whether it uses it or not.
#pragma once

#include "engine/storage/pch.h"
#include "tests/support/test_main.h"
