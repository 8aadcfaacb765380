#include "core/access/access.hpp"
#include "core/access/socket_owner.hpp"
#include "tests/unit/core/http/harness.hpp"

#include <minions/base/fd.hpp>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>

using namespace minions;
using namespace minions::core;

namespace {

constexpr uid_t nobody = 65534;

struct Pair {
    Fd client;
    Fd server;
};

Fd listen_on(int family, sockaddr_storage& address, socklen_t& size) {
    Fd listener(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    address = {};
    address.ss_family = static_cast<sa_family_t>(family);
    if (family == AF_INET) {
        reinterpret_cast<sockaddr_in&>(address).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        size = sizeof(sockaddr_in);
    } else {
        reinterpret_cast<sockaddr_in6&>(address).sin6_addr = in6addr_loopback;
        size = sizeof(sockaddr_in6);
    }
    if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return {};
    REQUIRE(::listen(listener.get(), 1) == 0);
    REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    return listener;
}

Pair connect_pair(int family) {
    sockaddr_storage address{};
    socklen_t size = 0;
    const Fd listener = listen_on(family, address, size);
    if (!listener) return {};
    Pair pair;
    pair.client.reset(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(pair.client.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    pair.server.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    return pair;
}

// Runs `action` in a child of that uid and returns its exit status.
int as_user(uid_t uid, const std::function<int()>& action) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setgid(nobody) != 0 || ::setuid(uid) != 0) ::_exit(99);
        ::_exit(action());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("the kernel knows who owns the other end") {
    for (const int family : {AF_INET, AF_INET6}) {
        INFO(family);
        const Pair pair = connect_pair(family);
        if (!pair.server) continue;  // no IPv6 here
        CHECK(find_socket_owner(peer_of(pair.server.get())) == ::getuid());
    }
}

TEST_CASE("a client that sends and closes is nobody") {
    Pair pair = connect_pair(AF_INET);
    const Peer peer = peer_of(pair.server.get());
    REQUIRE(find_socket_owner(peer) == ::getuid());
    write_all(pair.client.get(), "x", 1);
    pair.client.reset();
    char byte = 0;
    REQUIRE(::recv(pair.server.get(), &byte, 1, 0) == 1);
    REQUIRE(::recv(pair.server.get(), &byte, 1, 0) == 0);  // the FIN is here: FIN_WAIT2, uid 0, inode 0
    CHECK(find_socket_owner(peer) == std::nullopt);
    pair.server.reset();
    CHECK(find_socket_owner(peer) == std::nullopt);
}

TEST_CASE("a client of another uid is that uid, also after it sent and closed") {
    if (::getuid() != 0) return;  // only root can become others
    sockaddr_storage address{};
    socklen_t size = 0;
    const Fd listener = listen_on(AF_INET, address, size);
    FdPair control = make_socketpair(SOCK_STREAM);
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setuid(nobody) != 0) ::_exit(1);
        int fd = ::socket(AF_INET, SOCK_STREAM, 0);
        char byte = 0;
        if (::connect(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::write(fd, "x", 1) != 1)
            ::_exit(2);
        if (::read(control.second.get(), &byte, 1) != 1) ::_exit(3);
        ::close(fd);
        if (::write(control.second.get(), "x", 1) != 1) ::_exit(4);
        ::_exit(0);
    }
    const Fd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const Peer peer = peer_of(server.get());
    CHECK(find_socket_owner(peer) == nobody);
    char byte = 'x';
    write_all(control.first.get(), &byte, 1);
    REQUIRE(read_exact(control.first.get(), &byte, 1));
    CHECK(find_socket_owner(peer) == std::nullopt);
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK(status == 0);
}

TEST_CASE("over the wire: root passes, nobody does not, by TCP and by Unix socket") {
    if (::getuid() != 0) return;
    char directory[] = "/tmp/minions-access-XXXXXX";
    REQUIRE(::mkdtemp(directory) != nullptr);
    REQUIRE(::chmod(directory, 0755) == 0);
    const std::string path = std::string(directory) + "/s";
    Access::System system = Access::System::real();
    system.group_id = [](const std::string&) { return std::nullopt; };
    const auto access = std::make_shared<Access>(AccessRules{}, nullptr, system);
    http::Options options;
    options.unix_sockets = {path};
    options.authorize = [access](http::Request& request, http::Permission needed) {
        return access->admit(request, needed);
    };
    http::TestServer host(
        {http::quick("GET", "/",
                     [](http::Request& request) { return http::text(200, request.principal.name); })},
        options);
    REQUIRE(::chmod(path.c_str(), 0666) == 0);  // so that the server, not the file system, says no
    const std::string tcp = host.server->bound().front();
    CHECK(http::RawClient(tcp).ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").body == "uid 0");
    CHECK(http::RawClient(path).ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").body == "uid 0");
    CHECK(http::RawClient(tcp).ask("GET / HTTP/1.1\r\nHost: evil\r\n\r\n").status == 421);
    for (const auto& address : {tcp, path}) {
        const int result = as_user(nobody, [&] {
            try {
                return http::RawClient(address).ask("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").status - 300;
            } catch (const std::exception&) {
                return 98;
            }
        });
        CHECK(result == 403 - 300);
    }
    host.server->stop(std::chrono::seconds(5));
    CHECK(::rmdir(directory) == 0);
}
