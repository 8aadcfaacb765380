#include <minions/base/call_pipes.hpp>

#include <algorithm>
#include <cerrno>

namespace minions {
namespace {

constexpr auto patience = std::chrono::seconds(1);

}  // namespace

CallPipes::~CallPipes() { finish(); }

Fd CallPipes::collect(std::function<void(std::string_view)> take) {
    FdPair pipe = make_pipe();
    outlets_.push_back({std::move(pipe.first), std::move(take)});
    return std::move(pipe.second);
}

Fd CallPipes::feed(std::string text) {
    FdPair pipe = make_pipe();
    make_nonblocking(pipe.second.get());
    text_ = std::move(text);
    feed_ = std::move(pipe.second);
    return std::move(pipe.first);
}

void CallPipes::start() {
    thread_ = std::thread([this] { run(); });
}

bool CallPipes::finish() {
    if (thread_.joinable()) {
        over_.raise();
        thread_.join();
    }
    const bool complete = !any_open();
    for (auto& outlet : outlets_) outlet.from.reset();  // what still writes is told so by EPIPE
    feed_.reset();
    return complete;
}

bool CallPipes::any_open() const {
    return std::any_of(outlets_.begin(), outlets_.end(),
                       [](const Outlet& outlet) { return static_cast<bool>(outlet.from); });
}

void CallPipes::run() {
    Deadline until = no_deadline;
    std::vector<pollfd> waits(2 + outlets_.size());
    while (any_open() && std::chrono::steady_clock::now() < until) {
        waits[0] = {until == no_deadline ? over_.fd() : -1, POLLIN, 0};
        waits[1] = {feed_.get(), POLLOUT, 0};
        for (std::size_t i = 0; i < outlets_.size(); ++i) waits[2 + i] = {outlets_[i].from.get(), POLLIN, 0};
        poll_until(waits.data(), waits.size(), until);
        if (waits[0].revents != 0) until = deadline_in(patience);
        if (waits[1].revents != 0) feed_some();
        for (std::size_t i = 0; i < outlets_.size(); ++i) {
            if (waits[2 + i].revents != 0) take_from(outlets_[i]);
        }
    }
}

void CallPipes::take_from(Outlet& outlet) {
    char buffer[64 << 10];
    const ssize_t got = ::read(outlet.from.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) return;
    if (got <= 0) return outlet.from.reset();
    outlet.take({buffer, static_cast<std::size_t>(got)});
}

void CallPipes::feed_some() {
    // SIGPIPE is ignored in our processes: a reader that wants no more shows as EPIPE.
    const ssize_t put = ::write(feed_.get(), text_.data() + fed_, text_.size() - fed_);
    if (put < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (put >= 0) fed_ += static_cast<std::size_t>(put);
    if (put < 0 || fed_ == text_.size()) feed_.reset();
}

}  // namespace minions
