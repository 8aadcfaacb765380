#include "core/http/server_core.hpp"

#include <minions/base/id.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace minions::core::http {
namespace {

// Values of epoll data: 0 wakes, then the listeners, then connections.
constexpr std::uint64_t wake_id = 0;
constexpr std::uint64_t first_connection_id = 1000;
constexpr auto sweep_pause = std::chrono::milliseconds(50);

std::size_t count_workers(const Limits& limits) {
    if (limits.workers > 0) return limits.workers;
    return std::clamp<std::size_t>(std::thread::hardware_concurrency(), 2, 16);
}

void control(int epoll, int operation, int fd, std::uint32_t events, std::uint64_t id) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = id;
    if (::epoll_ctl(epoll, operation, fd, &event) != 0) {
        throw std::system_error(errno, std::generic_category(), "epoll_ctl");
    }
}

}  // namespace

ServerCore::ServerCore(Options options, Router router)
    : options_(std::move(options)),
      router_(std::move(router)),
      worker_count_(count_workers(options_.limits)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      reserve_(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
      next_id_(first_connection_id),
      id_prefix_(make_id().substr(0, 8)),
      threads_("http", worker_count_ + 1, options_.limits.thread_idle),
      waiting_{{"http-waiting", options_.limits.waiting_threads, options_.limits.thread_idle},
               options_.limits.waiting_threads,
               "http.waiting_threads"},
      commands_{{"http-command", options_.limits.exec_threads, options_.limits.thread_idle},
                options_.limits.exec_threads,
                "http.exec_threads"},
      streams_{{"http-stream", options_.limits.stream_threads, options_.limits.thread_idle},
               options_.limits.stream_threads,
               "http.stream_threads"} {
    if (!options_.authorize) throw std::logic_error("the HTTP server needs to be told who may call");
    if (!epoll_ || !wake_) throw std::system_error(errno, std::generic_category(), "epoll_create1");
}

void ServerCore::start() {
    control(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), EPOLLIN, wake_id);
    auto listeners = listeners_.lock();
    for (const auto& address : options_.tcp) {
        listeners->push_back(Listener::tcp(address));
        bound_.push_back(listeners->back().address());
    }
    for (const auto& path : options_.unix_sockets) {
        listeners->push_back(Listener::unix_socket(path, options_.socket_group));
    }
    for (std::size_t i = 0; i < listeners->size(); ++i) {
        control(epoll_.get(), EPOLL_CTL_ADD, (*listeners)[i].fd(), EPOLLIN | EPOLLONESHOT, i + 1);
    }
    for (std::size_t i = 0; i <= worker_count_; ++i) {
        const bool sweeper = i == 0;
        const bool made = threads_.try_run([self = shared_from_this(), sweeper] {
            if (sweeper) return self->run_sweeper();
            self->run_worker();
        });
        if (!made) throw Error(Code::unavailable, "cannot make the threads of the HTTP server");
    }
}

void ServerCore::run_worker() {
    while (!quit_) {
        epoll_event event{};
        if (::epoll_wait(epoll_.get(), &event, 1, -1) != 1) continue;
        try {
            on_event(event.data.u64);
        } catch (...) {
            log(LogLevel::error, fmt::format("HTTP worker: {}", current_error().what()));
        }
    }
}

void ServerCore::on_event(std::uint64_t id) {
    if (id == wake_id) return;
    if (id < first_connection_id) return accept_all(static_cast<std::size_t>(id - 1));
    ConnectionPtr connection;
    {
        const auto table = connections_.lock();
        const auto found = table->find(id);
        if (found == table->end()) return;
        connection = found->second;
    }
    if (connection->take()) return advance(connection, [&] { return step(connection); });
    // A handler has it, and something happened to the client.
    const auto client = *connection->client.lock();
    if (client && client->gone()) client->mark_gone();
}

void ServerCore::accept_all(std::size_t index) {
    const auto listeners = listeners_.lock();
    if (index >= listeners->size()) return;  // stopped
    const Listener& listener = (*listeners)[index];
    for (int round = 0; round < 256; ++round) {
        Fd fd = listener.accept();
        if (fd) {
            admit(std::move(fd));
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR) continue;
        if (errno != EMFILE && errno != ENFILE) break;
        if (make_room()) continue;
        const auto reserve = reserve_.lock();
        reserve->reset();
        turn_away(listener.accept());
        reserve->reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    }
    control(epoll_.get(), EPOLL_CTL_MOD, listener.fd(), EPOLLIN | EPOLLONESHOT, index + 1);
}

void ServerCore::admit(Fd fd) {
    if (connections() >= options_.limits.connections && !make_room()) return turn_away(std::move(fd));
    ConnectionPtr connection;
    try {
        connection = std::make_shared<Connection>(next_id_++, std::move(fd));
        control(epoll_.get(), EPOLL_CTL_ADD, connection->fd, EPOLLONESHOT, connection->id);
    } catch (const std::system_error&) {
        return;  // gone before it was accepted, or one more than epoll may watch
    }
    connections_.lock()->emplace(connection->id, connection);
    advance(connection, [] { return Next::park_for_input; });
}

// Closes the connection that has waited longest between two requests or, where there is none, within a head.
bool ServerCore::make_room() {
    for (const auto kind : {Connection::Waiting::idle, Connection::Waiting::head}) {
        ConnectionPtr idlest;
        for (const auto& connection : all_connections()) {
            const bool candidate =
                connection->owner == Connection::Owner::parked && connection->waiting == kind;
            if (candidate && (!idlest || connection->deadline.load() < idlest->deadline.load()))
                idlest = connection;
        }
        if (idlest && idlest->take()) {
            close(idlest);
            return true;
        }
    }
    return false;
}

void ServerCore::turn_away(Fd fd) {
    if (!fd) return;
    const Reply reply = error_reply(
        {}, Error(Code::unavailable, "the daemon has as many connections as it may (http.max_connections)",
                  "try again", true));
    observe(nullptr, reply.status);
    const std::string message = format_head(reply, nullptr, reply.body->size(), false, false) + *reply.body;
    static_cast<void>(::send(fd.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT) + 0);
}

void ServerCore::rearm(const Connection& connection, std::uint32_t events) {
    control(epoll_.get(), EPOLL_CTL_MOD, connection.fd, events | EPOLLONESHOT, connection.id);
}

void ServerCore::park(const ConnectionPtr& connection, std::uint32_t events) {
    const auto now = Clock::now();
    const auto& limits = options_.limits;
    Connection& c = *connection;
    Clock::time_point deadline = now + limits.idle_timeout;
    auto waiting = Connection::Waiting::other;
    switch (c.stage) {
        case Connection::Stage::head:
            if (c.in.empty()) {
                waiting = Connection::Waiting::idle;
                if (c.in.capacity() > 4096) std::string().swap(c.in);
            } else {
                waiting = Connection::Waiting::head;
                if (!c.head_deadline) c.head_deadline = now + limits.header_timeout;
                deadline = *c.head_deadline;
            }
            break;
        case Connection::Stage::body:
            deadline = c.body_deadline;
            break;
        case Connection::Stage::lingering:
            deadline = c.body_deadline;
            break;
        case Connection::Stage::writing:
        case Connection::Stage::handling:
            deadline = now + limits.write_timeout;
            break;
    }
    c.deadline = deadline;
    c.waiting = waiting;
    {
        const std::lock_guard lock(c.parking);
        rearm(c, events);
        c.owner = Connection::Owner::parked;
    }
    // From here on another thread may have it; only what is constant is used.
    wake_sweeper(deadline);
    if (stopping_ && waiting != Connection::Waiting::other && connection->take()) close(connection);
}

void ServerCore::close(const ConnectionPtr& connection) {
    connection->owner = Connection::Owner::closed;
    {
        auto client = connection->client.lock();
        if (*client) (*client)->detach();
        client->reset();
    }
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection->fd, nullptr);
    ::shutdown(connection->fd,
               SHUT_RDWR);  // a copy of the socket that a handler kept does not keep the client
    connections_.lock()->erase(connection->id);
    if (stopping_) {
        const std::lock_guard lock(stop_mutex_);
        connection_closed_.notify_all();
    }
}

std::vector<ConnectionPtr> ServerCore::all_connections() const {
    const auto table = connections_.lock();
    std::vector<ConnectionPtr> all;
    all.reserve(table->size());
    for (const auto& [id, connection] : *table) all.push_back(connection);
    return all;
}

void ServerCore::wake_sweeper(Clock::time_point deadline) {
    if (deadline >= next_sweep_.load()) return;
    const std::lock_guard lock(sweep_mutex_);
    if (deadline >= next_sweep_.load()) return;
    next_sweep_ = deadline;
    sweep_condition_.notify_one();
}

void ServerCore::run_sweeper() {
    std::unique_lock lock(sweep_mutex_);
    while (!quit_) {
        const auto until = next_sweep_.load();
        const auto now = Clock::now();
        if (until > now) {
            // time_point::max() overflows inside wait_until.
            sweep_condition_.wait_until(lock, std::min(until, now + std::chrono::hours(1)));
            continue;
        }
        next_sweep_ = Clock::time_point::max();
        lock.unlock();
        Clock::time_point next = Clock::time_point::max();
        for (const auto& connection : all_connections()) {
            if (connection->owner != Connection::Owner::parked) continue;
            if (connection->deadline.load() > now) {
                next = std::min(next, connection->deadline.load());
            } else if (connection->take()) {
                advance(connection, [&] { return expire(connection); });
            }
        }
        lock.lock();
        next_sweep_ = std::max(std::min(next, next_sweep_.load()), now + sweep_pause);
    }
}

ServerCore::Next ServerCore::expire(const ConnectionPtr& connection) {
    Connection& c = *connection;
    if (c.deadline.load() > Clock::now())  // moved on meanwhile
        return c.stage == Connection::Stage::writing ? Next::park_for_output : Next::park_for_input;
    const bool partial =
        c.stage == Connection::Stage::body || (c.stage == Connection::Stage::head && !c.in.empty());
    if (!partial) return Next::close;
    const Error late(Code::deadline, "the request did not come in time");
    c.linger = true;
    Reply reply = error_reply(c.exchange ? c.exchange->request.path() : sent_path(c.in), late);
    reply.status = 408;  // the code's own 504 is about what the daemon waits for
    return answer(connection, std::move(reply));
}

void ServerCore::stop(std::chrono::milliseconds grace) {
    const auto deadline = Clock::now() + grace;
    if (!stopping_.exchange(true)) listeners_.lock()->clear();
    for (const auto& connection : all_connections()) {
        const auto client = *connection->client.lock();
        if (client) client->mark_stopping();
        if (connection->waiting != Connection::Waiting::other && connection->take()) close(connection);
    }
    const auto none_left = [&] { return connections() == 0; };
    std::unique_lock lock(stop_mutex_);
    if (!connection_closed_.wait_until(lock, deadline, none_left)) {
        lock.unlock();
        cut_all();
        lock.lock();
        connection_closed_.wait_until(lock, deadline + std::chrono::milliseconds(600), none_left);
    }
    lock.unlock();
    {
        const std::lock_guard sweep(sweep_mutex_);
        quit_ = true;
        sweep_condition_.notify_all();
    }
    const std::uint64_t one = 1;
    if (::write(wake_.get(), &one, sizeof one) < 0)
        log(LogLevel::warning, "the HTTP workers cannot be woken");
    const auto last = std::max(deadline, Clock::now()) + std::chrono::milliseconds(250);
    const bool ended =
        threads_.stop(last) & waiting_.pool.stop(last) & commands_.pool.stop(last) & streams_.pool.stop(last);
    if (!ended) log(LogLevel::error, "an HTTP handler did not end when the server stopped");
}

void ServerCore::cut_all() {
    {
        // The lock keeps each descriptor from being closed and becoming another's.
        const auto table = connections_.lock();
        for (const auto& [id, connection] : *table) ::shutdown(connection->fd, SHUT_RDWR);
    }
    for (const auto& connection : all_connections()) {
        if (const auto client = *connection->client.lock()) client->mark_gone();
    }
}

void ServerCore::log(LogLevel level, std::string_view message) const {
    if (options_.log) options_.log(level, message);
}

Server::Server(Options options, Router router)
    : core_(std::make_shared<ServerCore>(std::move(options), std::move(router))) {
    try {
        core_->start();
    } catch (...) {
        core_->stop(std::chrono::milliseconds(0));
        throw;
    }
}

Server::~Server() { stop(std::chrono::milliseconds(0)); }

const std::vector<std::string>& Server::bound() const noexcept { return core_->bound(); }
const Router& Server::router() const noexcept { return core_->router(); }
std::size_t Server::connections() const { return core_->connections(); }
void Server::stop(std::chrono::milliseconds grace) { core_->stop(grace); }

}  // namespace minions::core::http
