#include <minions/context.hpp>

namespace minions {

void Context::check() const {
    if (cancelled()) throw Error(Code::cancelled, "the operation was cancelled");
    if (std::chrono::steady_clock::now() >= deadline()) {
        throw Error(Code::deadline, "the operation did not end within its time limit", {}, true);
    }
}

}  // namespace minions
