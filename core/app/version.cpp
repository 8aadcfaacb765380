#include "core/app/version.hpp"

namespace minions::core {

const char* version() { return "0.1.0"; }

}  // namespace minions::core
