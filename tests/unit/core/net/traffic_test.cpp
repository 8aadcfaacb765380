// What may pass, shown with network namespaces that stand for guests and for the world outside.
#include "tests/unit/core/net/support.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

namespace minions::core {
namespace {

constexpr std::uint16_t port = 8080;
constexpr const char* outside_address = "192.0.2.2";

sockaddr_in socket_address(const std::string& address, std::uint16_t number) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(parse_address(address));
    name.sin_port = htons(number);
    return name;
}

Fd listen_on(const std::string& address) {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const auto name = socket_address(address, port);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 ||
        ::listen(fd.get(), 16) != 0)
        throw std::runtime_error("cannot listen on " + address);
    return fd;
}

/// Whether a connection comes about; one that is dropped on its way is given a second.
bool connects(const std::string& to, const std::string& from = "") {
    const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!from.empty()) {
        const auto own = socket_address(from, 0);
        if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0)
            throw std::runtime_error("cannot use " + from);
    }
    const auto name = socket_address(to, port);
    ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name);
    pollfd entry{fd.get(), POLLOUT, 0};
    if (poll_until(&entry, 1, deadline_in(std::chrono::seconds(1))) == 0) return false;
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    return error == 0;
}

bool answers_echo(const std::string& to) {
    const Fd fd(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
    icmphdr echo{};
    echo.type = ICMP_ECHO;
    echo.checksum = htons(static_cast<std::uint16_t>(~(ICMP_ECHO << 8U)));
    const auto name = socket_address(to, 0);
    ::sendto(fd.get(), &echo, sizeof echo, 0, reinterpret_cast<const sockaddr*>(&name), sizeof name);
    pollfd entry{fd.get(), POLLIN, 0};
    if (poll_until(&entry, 1, deadline_in(std::chrono::seconds(10))) == 0) return false;
    char packet[sizeof(iphdr) + sizeof(icmphdr)];
    return ::recv(fd.get(), packet, sizeof packet, 0) == sizeof packet &&
           packet[sizeof(iphdr)] == ICMP_ECHOREPLY;
}

Fd receive_on(const std::string& address) {
    Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const auto name = socket_address(address, port);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0)
        throw std::runtime_error("cannot receive on " + address);
    return fd;
}

/// Sends one datagram, which needs no answer.
void say(const std::string& text, const std::string& from, const std::string& to) {
    const Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const auto own = socket_address(from, 0);
    const auto name = socket_address(to, port);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0 ||
        ::sendto(fd.get(), text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&name),
                 sizeof name) < 0)
        throw std::runtime_error("cannot send from " + from);
}

/// The next datagram.
std::string hear(const Fd& receiving) {
    pollfd entry{receiving.get(), POLLIN, 0};
    if (poll_until(&entry, 1, deadline_in(std::chrono::seconds(10))) == 0) return "nothing";
    char text[64];
    const ssize_t size = ::recv(receiving.get(), text, sizeof text, 0);
    return size < 0 ? "nothing" : std::string(text, static_cast<std::size_t>(size));
}

/// In a guest that wants to reach another by way of the host, whatever that advises.
void route_by_gateway(const std::string& to) {
    set_sysctl("ipv4/conf/all/accept_redirects", "0");
    set_sysctl("ipv4/conf/eth0/accept_redirects", "0");
    command("ip route add " + to + "/32 via 10.0.0.1");
}

/// The address that the next connection comes from.
std::string accept_from(const Fd& listening) {
    pollfd entry{listening.get(), POLLIN, 0};
    if (poll_until(&entry, 1, deadline_in(std::chrono::seconds(10))) == 0) return "nobody";
    sockaddr_in name{};
    socklen_t size = sizeof name;
    const Fd connection(::accept4(listening.get(), reinterpret_cast<sockaddr*>(&name), &size, SOCK_CLOEXEC));
    return address_text(ntohl(name.sin_addr.s_addr));
}

/// A host with two guests, behind ports as TAPs are, and a machine outside that has no route to the guests.
/// The test runs in the host's namespace.
struct World {
    explicit World(NetOptions options = {})
        : host(options),
          filter({host.store.installation(), "br0", options.subnet, options.isolate}),
          isolate(options.isolate) {
        command("ip link add up0 type veth peer name out0");
        command("ip link set out0 netns " + outside.path());
        command("ip addr add 192.0.2.1/24 dev up0");
        command("ip link set up0 up");
        outside.run([&] {
            command("ip addr add 192.0.2.2/24 dev out0");
            command("ip addr add 169.254.169.254/32 dev out0");
            command("ip link set out0 up");
            listening = listen_on("0.0.0.0");
        });
        command("ip route add default via 192.0.2.2");
    }
    /// After the bridge is there.
    void plug_in() {
        plug(guests[0], 0, "mnaaaaaaaaaaaa");
        plug(guests[1], 1, "mnbbbbbbbbbbbb");
    }
    bool reaches(int guest, const std::string& to, const std::string& from = "") {
        bool reached = false;
        guests[guest].run([&] { reached = connects(to, from); });
        return reached;
    }

    Host host;
    Firewall filter;
    bool isolate;
    Namespace outside;
    Namespace guests[2];
    Fd listening;  ///< outside

  private:
    void plug(Namespace& guest, std::int64_t slot, const std::string& device) {
        const GuestAddresses addresses(parse_subnet("10.0.0.1/16"), host.store.installation());
        const GuestPort own{device, addresses.mac(slot), addresses.address(slot)};
        command(fmt::format("ip link add {} type veth peer name eth0 address {} netns {}", device, own.mac,
                            guest.path()));
        Links links;
        LinkChange change;
        change.master = links.find("br0")->index;
        change.isolated = isolate;
        change.up = true;
        links.change(links.find(device).value(), change);
        filter.add(own);
        guest.run([&] {
            command(fmt::format("ip addr add {}/16 dev eth0", address_text(own.address)));
            command("ip link set eth0 up");
            command("ip route add default via 10.0.0.1");
        });
    }
};

TEST_CASE("guests reach the outside under the host's address") {
    Namespace().run([] {
        World world;
        world.host.net->prepare();
        world.plug_in();
        CHECK(world.reaches(0, outside_address));
        CHECK(accept_from(world.listening) == "192.0.2.1");
        CHECK(world.host.journal().empty());  // nothing of others' had to be changed
    });
}

TEST_CASE("guests reach the outside where what is forwarded is dropped") {
    Namespace().run([] {
        World world;
        command("iptables -P FORWARD DROP");
        std::string chain = "FORWARD";
        SECTION("by the policy alone") {}
        SECTION("by Docker") {
            chain = "DOCKER-USER";
            command("iptables -N DOCKER-USER");
            command("iptables -A FORWARD -j DOCKER-USER");
            command("iptables -A DOCKER-USER -j RETURN");
        }
        const auto before = command("iptables -S");
        world.host.net->prepare();
        world.plug_in();
        CHECK(world.reaches(0, outside_address));
        const auto rules = command("iptables -S");
        CHECK(contains(command("iptables -S " + chain), world.host.mark()));
        const auto rows = world.host.journal();
        REQUIRE(rows.size() == 1);
        CHECK(rows[0].row.kind == "iptables");
        CHECK(rows[0].row.key == chain);
        CHECK(rows[0].row.held);
        world.host.net->prepare();
        CHECK(command("iptables -S") == rules);
        CHECK(world.host.journal().size() == 1);

        world.host.net->release(rows[0].row);
        CHECK(command("iptables -S") == before);
        CHECK_FALSE(world.reaches(1, outside_address));
    });
}

TEST_CASE("guests are isolated from each other, also by way of the host") {
    Namespace().run([] {
        NetOptions options;
        SECTION("unless configured otherwise") { options.isolate = false; }
        SECTION("by default") {}
        World world(options);
        world.host.net->prepare();
        world.plug_in();
        Fd listening;
        world.guests[1].run([&] { listening = listen_on("10.0.0.3"); });
        CHECK(world.reaches(0, "10.0.0.3") == !options.isolate);
        // Both ways by the host: otherwise the answer is lost between the ports.
        world.guests[0].run([] { route_by_gateway("10.0.0.3"); });
        world.guests[1].run([] { route_by_gateway("10.0.0.2"); });
        CHECK(world.reaches(0, "10.0.0.3") == !options.isolate);
        CHECK(connects("10.0.0.3"));  // the host does
    });
}

TEST_CASE("guests do not reach the host, but for an echo of the gateway") {
    Namespace().run([] {
        World world;
        world.host.net->prepare();
        world.plug_in();
        const Fd listening = listen_on("0.0.0.0");
        CHECK_FALSE(world.reaches(0, "10.0.0.1"));
        CHECK_FALSE(world.reaches(0, "192.0.2.1"));
        CHECK(connects("10.0.0.1"));
        bool echoed = false;
        world.guests[0].run([&] { echoed = answers_echo("10.0.0.1"); });
        CHECK(echoed);
        world.filter.remove();
        CHECK(world.reaches(0, "10.0.0.1"));  // it was the rules
    });
}

TEST_CASE("a guest speaks in its own name only") {
    Namespace().run([] {
        World world;
        world.host.net->prepare();
        world.plug_in();
        Fd receiving;
        world.outside.run([&] { receiving = receive_on(outside_address); });
        SECTION("with another address it says nothing") {
            world.guests[0].run([] {
                command("ip addr add 10.0.0.9/16 dev eth0");
                say("forged", "10.0.0.9", outside_address);
                say("own", "10.0.0.2", outside_address);
            });
            CHECK(hear(receiving) == "own");
            world.filter.remove();
            world.guests[0].run([] { say("forged", "10.0.0.9", outside_address); });
            CHECK(hear(receiving) == "forged");  // it was the rules
        }
        SECTION("with another MAC it says nothing") {
            CHECK(world.reaches(0, outside_address));
            world.guests[0].run([] { command("ip link set eth0 address 02:00:00:00:00:99"); });
            CHECK_FALSE(world.reaches(0, outside_address));
        }
        SECTION("the host never learns another's address from it") {
            world.guests[1].run([] { command("ip link set eth0 down"); });
            world.guests[0].run([] { command("ip addr add 10.0.0.3/16 dev eth0"); });
            connects("10.0.0.3");
            CHECK_FALSE(contains(command("ip neigh show 10.0.0.3"), "lladdr"));
            world.filter.remove();
            command("ip neigh flush dev br0");
            connects("10.0.0.3");
            CHECK(contains(command("ip neigh show 10.0.0.3"), "lladdr"));  // it was the rules
        }
    });
}

TEST_CASE("guests reach no link-local address behind the host") {
    Namespace().run([] {
        World world;
        world.host.net->prepare();
        world.plug_in();
        command("ip route add 169.254.169.254/32 via 192.0.2.2");
        CHECK(connects("169.254.169.254"));
        CHECK_FALSE(world.reaches(0, "169.254.169.254"));
    });
}

TEST_CASE("the outside does not reach guests by a route of its own") {
    Namespace().run([] {
        World world;
        world.host.net->prepare();
        world.plug_in();
        Fd listening;
        world.guests[0].run([&] { listening = listen_on("10.0.0.2"); });
        CHECK(connects("10.0.0.2"));
        world.outside.run([] {
            command("ip route add 10.0.0.0/16 via 192.0.2.1");
            CHECK_FALSE(connects("10.0.0.2"));
        });
    });
}

}  // namespace
}  // namespace minions::core
