#include <minions/agent/loop.hpp>

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <system_error>

namespace minions::agent {

namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

epoll_event event_of(int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    return event;
}

}  // namespace

Loop::Loop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (!epoll_) fail("epoll_create1");
    watch(wake_.fd(), EPOLLIN, [this](std::uint32_t) { wake_.clear(); });
}

bool Loop::watch(int fd, std::uint32_t events, Ready ready) {
    auto event = event_of(fd, events);
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
        if (errno == EPERM) return false;
        fail("epoll_ctl");
    }
    watched_[fd] = std::make_shared<Ready>(std::move(ready));
    return true;
}

void Loop::change(int fd, std::uint32_t events) {
    auto event = event_of(fd, events);
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) != 0) fail("epoll_ctl");
}

void Loop::forget(int fd) noexcept {
    if (watched_.erase(fd) > 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

Loop::TimerId Loop::at(Clock::time_point time, std::function<void()> call) {
    const TimerId id{time, ++timer_count_};
    timers_.emplace(id, std::move(call));
    return id;
}

void Loop::post(std::function<void()> call) {
    posted_.lock()->calls.push_back(std::move(call));
    wake_.raise();
}

void Loop::stop() {
    posted_.lock()->stopping = true;
    wake_.raise();
}

int Loop::next_timeout() const {
    if (timers_.empty()) return -1;
    const auto left = timers_.begin()->first.first - Clock::now();
    const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    return static_cast<int>(std::clamp<std::int64_t>(rounded, 0, 60'000));
}

void Loop::run_timers() {
    const auto now = Clock::now();
    while (!timers_.empty() && timers_.begin()->first.first <= now) {
        const auto call = std::move(timers_.begin()->second);
        timers_.erase(timers_.begin());
        call();
    }
}

/// False once the loop is to end.
bool Loop::run_posted() {
    std::vector<std::function<void()>> calls;
    {
        const auto posted = posted_.lock();
        if (std::exchange(posted->stopping, false)) return false;
        calls.swap(posted->calls);
    }
    for (const auto& call : calls) call();
    return true;
}

void Loop::run() {
    sigset_t pipe{};
    ::sigemptyset(&pipe);
    ::sigaddset(&pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    std::array<epoll_event, 64> events{};
    while (run_posted()) {
        const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), next_timeout());
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; ++i) {
            const auto& event = events[static_cast<std::size_t>(i)];
            // An earlier callback may have forgotten it. If it has also closed it and watches a new one of
            // the same number, that one is called once for nothing, which every callback here survives.
            const auto found = watched_.find(event.data.fd);
            if (found == watched_.end()) continue;
            const auto ready = found->second;
            (*ready)(event.events);
        }
        run_timers();
    }
}

}  // namespace minions::agent
