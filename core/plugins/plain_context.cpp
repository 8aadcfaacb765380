#include "core/plugins/plain_context.hpp"

#include <minions/error.hpp>

namespace minions::core {
namespace {

[[noreturn]] void refuse(const char* service) {
    throw Error(Code::unavailable, std::string("this call offers no ") + service);
}

}  // namespace

bool PlainContext::cancelled() const noexcept {
    try {
        return cancel_.raised();
    } catch (...) {
        return false;
    }
}

Network& PlainContext::network() { refuse("network"); }
Processes& PlainContext::processes() { refuse("processes"); }
Images& PlainContext::images() { refuse("images"); }
std::unique_ptr<JournalEntry> PlainContext::intend(std::string_view, std::string_view) { refuse("journal"); }

}  // namespace minions::core
