#include "socket.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/base/unix_address.hpp>
#include <minions/error.hpp>

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <system_error>
#include <thread>

namespace minions::http {
namespace {

using AddressList = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

Error cannot_connect(const std::string& where, const std::string& why) {
    return Error{Code::unavailable, "cannot connect to " + where + ": " + why, "check that the server runs",
                 true};
}

std::string text_of(int error) { return std::generic_category().message(error); }

Fd make_socket(int family) {
    Fd fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) throw error_from_errno(errno, "cannot make a socket");
    return fd;
}

Fd connect_unix(const Endpoint& endpoint, const Call& call) {
    if (endpoint.unix_path.size() > UnixAddress::longest) {
        throw Error{Code::invalid, "the socket path " + endpoint.unix_path + " is too long",
                    "use at most " + std::to_string(UnixAddress::longest) + " bytes"};
    }
    const UnixAddress address(endpoint.unix_path);
    Fd fd = make_socket(AF_UNIX);
    while (address.connect(fd.get()) != 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) throw cannot_connect(endpoint.to_string(), text_of(errno));
        // The server's queue is full, and a Unix socket cannot be polled for that: look again soon.
        pollfd cancel{call.cancel_fd, POLLIN, 0};
        const Deadline soon = std::min(call.deadline, deadline_in(std::chrono::milliseconds(2)));
        if (poll_until(&cancel, 1, soon) > 0 || soon == call.deadline)
            await(-1, 0, call, endpoint.to_string());
    }
    return fd;
}

/// What a lookup leaves; shared with its thread, which cannot be stopped and may outlive the call.
struct Lookup {
    EventFd done;
    int error = 0;
    AddressList addresses{nullptr, ::freeaddrinfo};
};

AddressList look_up(const Endpoint& endpoint, const Call& call) {
    const bool known = !endpoint.address.empty();
    const std::string host = known ? endpoint.address : endpoint.host;
    const std::string port = std::to_string(endpoint.port);
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    addrinfo* list = nullptr;
    if (::getaddrinfo(host.c_str(), port.c_str(), &hints, &list) == 0) return {list, ::freeaddrinfo};
    if (known) throw Error{Code::invalid, "'" + host + "' is not a numeric address"};

    auto lookup = std::make_shared<Lookup>();
    std::thread([lookup, host, port, hints]() mutable {
        hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
        addrinfo* found = nullptr;
        lookup->error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
        if (lookup->error == 0) lookup->addresses.reset(found);
        lookup->done.raise();
    }).detach();
    await(lookup->done.fd(), POLLIN, call, endpoint.to_string());
    if (lookup->error != 0) throw cannot_connect(endpoint.to_string(), ::gai_strerror(lookup->error));
    return std::move(lookup->addresses);
}

Fd connect_tcp(const Endpoint& endpoint, const Call& call) {
    const AddressList addresses = look_up(endpoint, call);
    int error = EADDRNOTAVAIL;
    for (const addrinfo* each = addresses.get(); each != nullptr; each = each->ai_next) {
        Fd fd = make_socket(each->ai_family);
        error = 0;
        if (::connect(fd.get(), each->ai_addr, each->ai_addrlen) != 0) error = errno;
        if (error == EINPROGRESS || error == EINTR) {
            await(fd.get(), POLLOUT, call, endpoint.to_string());
            socklen_t size = sizeof error;
            ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
        }
        if (error != 0) continue;
        const int on = 1;
        ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        return fd;
    }
    throw cannot_connect(endpoint.to_string(), text_of(error));
}

}  // namespace

void await(int fd, short events, const Call& call, const std::string& where) {
    pollfd entries[] = {{fd, events, 0}, {call.cancel_fd, POLLIN, 0}};
    const int ready = poll_until(entries, 2, call.deadline);
    if (entries[1].revents != 0) throw Error{Code::cancelled, "the request to " + where + " was cancelled"};
    if (ready == 0)
        throw Error{Code::deadline, where + " did not answer in time", "try again, or allow more time", true};
}

Fd connect_to(const Endpoint& endpoint, const Call& call) {
    return endpoint.unix_path.empty() ? connect_tcp(endpoint, call) : connect_unix(endpoint, call);
}

}  // namespace minions::http
