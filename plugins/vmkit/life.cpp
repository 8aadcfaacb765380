#include "plugins/vmkit/life.hpp"

#include <minions/codec.hpp>
#include <minions/error.hpp>

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace minions::vmkit {

namespace {

constexpr std::size_t job_threads = 4;

void watch(const Fd& epoll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0)
        throw error_from_errno(errno, "cannot watch a machine");
}

}  // namespace

Lives::Lives(std::function<void(const LifePtr&)> ended)
    : ended_(std::move(ended)), epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (!epoll_) throw error_from_errno(errno, "cannot watch machines");
    watch(epoll_, stop_.fd());
    thread_ = std::thread([this] { run(); });
}

Lives::~Lives() {
    stop_.raise();
    thread_.join();
}

void Lives::add(const LifePtr& life) {
    const auto state = state_.lock();
    state->watched[life->end.get()] = life;
    state->present[life->instance] = life;
    watch(epoll_, life->end.get());
}

LifePtr Lives::find(const std::string& instance) const {
    const auto state = state_.lock();
    const auto found = state->present.find(instance);
    return found == state->present.end() ? nullptr : found->second;
}

void Lives::forget(const std::string& instance) { state_.lock()->present.erase(instance); }

void Lives::run() {
    for (;;) {
        std::array<epoll_event, 64> events{};
        const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
        for (int i = 0; i < count; ++i) {
            if (events[static_cast<std::size_t>(i)].data.fd == stop_.fd()) return;
            look(events[static_cast<std::size_t>(i)].data.fd);
        }
    }
}

void Lives::look(int fd) {
    std::array<char, 4096> buffer{};
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    LifePtr life;
    bool present = false;
    {
        const auto state = state_.lock();
        const auto found = state->watched.find(fd);
        if (found == state->watched.end()) return;
        life = found->second;
        state->watched.erase(found);
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
        if (got <= 0) return;  // the daemon is going away, and the machine lives on
        const auto now = state->present.find(life->instance);
        present = now != state->present.end() && now->second == life;
        if (present) state->present.erase(now);
    }
    ProcessEnd end;
    try {
        end = decode<ProcessEnd>(parse_json({buffer.data(), static_cast<std::size_t>(got)}), Unknown::ignore);
    } catch (const Error&) {  // it has ended, and nobody can say how
    }
    *life->how.lock() = end;
    life->over.raise();
    if (present) ended_(life);
}

Jobs::Jobs() {
    for (std::size_t i = 0; i < job_threads; ++i) threads_.emplace_back([this] { run(); });
}

Jobs::~Jobs() {
    {
        const auto state = state_.lock();
        state->over = true;
        state->waiting.clear();
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
}

void Jobs::post(std::function<void()> job) {
    state_.lock()->waiting.push_back(std::move(job));
    changed_.notify_one();
}

void Jobs::run() {
    for (;;) {
        std::function<void()> job;
        {
            auto state = state_.lock();
            state.wait(changed_, [](const State& now) { return now.over || !now.waiting.empty(); });
            if (state->over) return;
            job = std::move(state->waiting.front());
            state->waiting.erase(state->waiting.begin());
        }
        job();
    }
}

}  // namespace minions::vmkit
