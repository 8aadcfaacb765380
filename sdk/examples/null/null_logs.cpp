#include "null_instance.hpp"

#include <minions/base/deadline.hpp>

#include <sys/socket.h>

#include <list>

namespace minions::examples {
namespace {

std::size_t start_of_tail(const std::string& log, std::int64_t lines) {
    if (lines <= 0) return log.size();
    std::size_t at = log.size();
    // The newline that ends the last line starts no new one.
    for (std::int64_t seen = -1; at > 0; --at) {
        if (log[at - 1] == '\n' && ++seen == lines) break;
    }
    return at;
}

}  // namespace

void NullRuntime::logs(Context& ctx, const Instance& instance, const LogsSpec& spec, Fd out) {
    misbehave(ctx, "logs", instance.spec.labels);
    const auto held = find(instance.id);
    NullWatch watch(held);
    std::size_t at = spec.tail ? start_of_tail(held->life.lock()->log, *spec.tail) : 0;
    for (;;) {
        watch.event().clear();
        std::string piece;
        bool alive = false;
        {
            const auto life = held->life.lock();
            at = std::min(at, life->log.size());
            piece = life->log.substr(at);
            alive = life->status == Status::running || life->status == Status::paused;
        }
        if (!write_to(ctx, out, piece) || !spec.follow || !alive) return;
        at += piece.size();
        pollfd wait[] = {{watch.event().fd(), POLLIN, 0}, {ctx.cancel_fd(), POLLIN, 0}, {out.get(), 0, 0}};
        poll_until(wait, std::size(wait), ctx.deadline());
        if (wait[2].revents != 0) return;  // the reader is gone
        ctx.check();
    }
}

/// One connection of forward(): sends back what it receives.
struct NullRuntime::Echo {
    Fd end;
    std::atomic<bool> done = false;
    std::thread thread;

    explicit Echo(Fd socket) : end(std::move(socket)), thread([this] { run(); }) {}
    ~Echo() {
        ::shutdown(end.get(), SHUT_RDWR);
        thread.join();
    }
    void run() {
        char buffer[16384];
        try {
            for (ssize_t got = 0; (got = ::read(end.get(), buffer, sizeof buffer)) > 0;) {
                write_all(end.get(), buffer, static_cast<std::size_t>(got));
            }
        } catch (const std::system_error&) {
            // The other end is gone.
        }
        ::shutdown(end.get(), SHUT_RDWR);
        done = true;
    }
};

Fd NullRuntime::forward(Context& ctx, const Instance& instance, int port) {
    misbehave(ctx, "forward", instance.spec.labels);
    const auto held = find_running(instance.id);
    const auto listen = held->labels.find("null.listen");
    if (listen != held->labels.end() && !has_word(listen->second, std::to_string(port))) {
        throw Error(Code::unavailable, "nothing listens on port " + std::to_string(port) + " of the instance",
                    {}, true);
    }
    auto pair = make_socketpair(SOCK_STREAM);
    const auto echoes = echoes_.lock();
    echoes->remove_if([](const auto& echo) { return echo->done.load(); });
    echoes->push_back(std::make_shared<Echo>(std::move(pair.second)));
    return std::move(pair.first);
}

NullRuntime::~NullRuntime() {
    timers_.reset();
    echoes_.lock()->clear();
}

}  // namespace minions::examples
