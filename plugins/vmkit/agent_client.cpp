#include "plugins/vmkit/agent_client.hpp"

#include "plugins/vmkit/agent_client_impl.hpp"
#include "plugins/vmkit/vsock_door.hpp"

#include <minions/base/deadline.hpp>
#include <minions/base/unix_address.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <future>

namespace minions::vmkit {

using namespace agent;

namespace {

constexpr auto redial_pause = std::chrono::milliseconds(100);

Fd unix_socket() {
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) throw error_from_errno(errno, "cannot make a socket");
    return socket;
}

}  // namespace

AgentLoop::AgentLoop() : thread_([this] { loop_.run(); }) {}

AgentLoop::~AgentLoop() {
    run([this] { door_.reset(); });
    loop_.stop();
    thread_.join();
}

void AgentLoop::run(const std::function<void()>& call) {
    std::promise<void> done;
    loop_.post([&] {
        try {
            call();
            done.set_value();
        } catch (...) {
            done.set_exception(std::current_exception());
        }
    });
    done.get_future().get();
}

VsockDoor* AgentLoop::vsock() {
    VsockDoor* door = nullptr;
    run([&] {
        if (!door_tried_) {
            door_tried_ = true;
            try {
                door_ = std::make_unique<VsockDoor>(loop_);
            } catch (const Error&) {  // the other transports are there
            }
        }
        door = door_.get();
    });
    return door;
}

AgentClient::Impl::~Impl() {
    if (door != nullptr) door->forget(address.cid, this);
    if (redial) loop.cancel(*redial);
    if (listener) loop.forget(listener.get());
}

void AgentClient::Impl::open() {
    if (address.kind == AgentAddress::Kind::serial) return dial();
    if (address.kind == AgentAddress::Kind::vsock) {
        if (door == nullptr) throw Error{Code::unavailable, "this host has no vsock for the guest's agent"};
        return door->expect(address.cid, this, [this](Fd connection) { use(std::move(connection), false); });
    }
    listener = unix_socket();
    ::unlink(address.path.c_str());  // of a daemon that was killed: our run directory is nobody else's
    // The VMM connects as a user of its own; the directory decides who gets here at all.
    if (UnixAddress(address.path).bind(listener.get()) != 0 || ::chmod(address.path.c_str(), 0666) != 0 ||
        ::listen(listener.get(), 8) != 0)
        throw error_from_errno(errno, "cannot listen on " + address.path);
    loop.watch(listener.get(), EPOLLIN, [this](std::uint32_t) {
        Fd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        // The last one counts: an agent dials anew when it has given its old connection up.
        if (connection) use(std::move(connection), false);
    });
}

void AgentClient::Impl::dial() {
    redial.reset();
    try {
        Fd socket = unix_socket();
        if (UnixAddress(address.path).connect(socket.get()) == 0) return use(std::move(socket), true);
    } catch (const std::exception&) {  // out of descriptors: as an absent VMM, tried again
    }
    dial_later();
}

void AgentClient::Impl::dial_later() {
    redial = loop.after(redial_pause, [this] { dial(); });
}

void AgentClient::Impl::use(Fd connection, bool reset) {
    drop();
    const auto welcomed = [this] {
        version.lock()->assign(session->version());
        ready.raise();
        if (events.up) events.up();
    };
    const auto lost = [this](const std::string&) {
        loop.post([this, gone = session.get()] {
            if (session.get() != gone) return;
            drop();
            if (address.kind == AgentAddress::Kind::serial) dial_later();
        });
    };
    session = std::make_unique<AgentSession>(loop, std::move(connection), reset,
                                             AgentSession::Events{welcomed, lost});
}

void AgentClient::Impl::drop() {
    if (!session) return;
    const bool was_up = session->welcomed();
    ready.clear();
    version.lock()->clear();
    session.reset();
    if (was_up && events.down) events.down();
}

AgentClient::AgentClient(AgentLoop& loop, const AgentAddress& address, Events events)
    : loop_(loop), impl_(std::make_unique<Impl>(loop.loop(), address, std::move(events))) {
    if (address.kind == AgentAddress::Kind::vsock) impl_->door = loop_.vsock();
    loop_.run([&] { impl_->open(); });
}

AgentClient::~AgentClient() {
    loop_.run([&] {
        impl_->events = {};
        impl_->drop();
        // What was posted for this client before comes first.
    });
    loop_.run([&] { impl_.reset(); });
}

std::string AgentClient::version() const { return *impl_->version.lock(); }

void AgentClient::wait_ready(const Context& ctx) {
    pollfd fds[] = {{impl_->ready.fd(), POLLIN, 0}, {ctx.cancel_fd(), POLLIN, 0}};
    if (poll_until(fds, 2, ctx.deadline()) == 0)
        throw Error{Code::deadline, "the guest's agent has not answered in time",
                    "look at the serial console: minions logs NAME"};
    if (fds[1].revents != 0) throw Error{Code::cancelled, "the wait for the guest's agent was cancelled"};
}

}  // namespace minions::vmkit
