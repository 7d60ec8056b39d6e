// The runtime's name for the pool. It lives in base because the layers below run tasks as well.
#pragma once

#include "base/thread_pool.h"
