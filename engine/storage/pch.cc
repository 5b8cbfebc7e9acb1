#include "engine/storage/pch.h"
