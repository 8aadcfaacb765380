#include "core/app/signals.hpp"

#include <pthread.h>
#include <signal.h>

#include <cerrno>

namespace minions::core {
namespace {

sigset_t awaited() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGINT, SIGQUIT, SIGTERM, SIGHUP}) ::sigaddset(&set, signal);
    return set;
}

}  // namespace

void block_signals() {
    const auto set = awaited();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
}

std::optional<int> wait_for_signal(std::optional<std::chrono::milliseconds> timeout) {
    const auto set = awaited();
    siginfo_t info{};
    for (;;) {
        int signal = 0;
        if (timeout) {
            const timespec time{timeout->count() / 1000, (timeout->count() % 1000) * 1'000'000};
            signal = ::sigtimedwait(&set, &info, &time);
        } else {
            signal = ::sigwaitinfo(&set, &info);
        }
        if (signal > 0) return signal;
        if (errno == EAGAIN) return std::nullopt;
    }
}

}  // namespace minions::core
