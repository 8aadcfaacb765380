#include "core/net/links.hpp"

#include <minions/base/files.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <system_error>
#include <thread>

namespace minions::core {
namespace {

Link link_of(const NetlinkReply& reply) {
    const auto attributes = reply.attributes<ifinfomsg>();
    Link link;
    link.index = reply.header<ifinfomsg>().ifi_index;
    link.name = attributes.text(IFLA_IFNAME);
    link.alias = attributes.text(IFLA_IFALIAS);
    link.master = static_cast<int>(attributes.number(IFLA_MASTER).value_or(0));
    if (const auto mac = attributes.find(IFLA_ADDRESS); mac && mac->size() == sizeof(ether_addr)) {
        const auto byte = [&](std::size_t at) { return static_cast<unsigned char>((*mac)[at]); };
        link.mac = fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", byte(0), byte(1), byte(2),
                               byte(3), byte(4), byte(5));
    }
    link.mtu = static_cast<int>(attributes.number(IFLA_MTU).value_or(0));
    if (const auto info = attributes.find(IFLA_LINKINFO))
        link.kind = NetlinkAttributes(*info).text(IFLA_INFO_KIND);
    return link;
}

std::uint32_t from_network(std::optional<std::uint32_t> address) { return ntohl(address.value_or(0)); }

ifinfomsg about(int index) {
    ifinfomsg header{};
    header.ifi_index = index;
    return header;
}

NetlinkMessage address_message(std::uint16_t type, std::uint16_t flags, const Link& link,
                               const Subnet& address) {
    ifaddrmsg header{};
    header.ifa_family = AF_INET;
    header.ifa_prefixlen = static_cast<std::uint8_t>(address.prefix);
    header.ifa_index = static_cast<unsigned>(link.index);
    NetlinkMessage message(type, flags);
    message.header(header).number(IFA_LOCAL, htonl(address.address));
    if (type == RTM_NEWADDR) message.number(IFA_BROADCAST, htonl(address.broadcast()));
    return message;
}

void make_persistent_tap(const std::string& name, unsigned owner) {
    const Fd tap(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    if (!tap) throw error_from_errno(errno, "cannot open /dev/net/tun");
    ifreq request{};
    name.copy(request.ifr_name, sizeof request.ifr_name - 1);
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL);
    if (::ioctl(tap.get(), TUNSETIFF, &request) != 0) {
        if (errno == EBUSY) throw Error{Code::conflict, fmt::format("the network device {} exists", name)};
        throw error_from_errno(errno, fmt::format("cannot make the TAP {}", name));
    }
    if (::ioctl(tap.get(), TUNSETOWNER, static_cast<unsigned long>(owner)) != 0)
        throw error_from_errno(errno, fmt::format("cannot give the TAP {} to user {}", name, owner));
    if (::ioctl(tap.get(), TUNSETPERSIST, 1UL) != 0)
        throw error_from_errno(errno, fmt::format("cannot keep the TAP {}", name));
}

}  // namespace

std::optional<Link> Links::look(NetlinkMessage message, const std::string& what) {
    std::optional<Link> found;
    const int error = socket_.ask(std::move(message), [&](const NetlinkReply& reply) {
        if (reply.type == RTM_NEWLINK) found = link_of(reply);
    });
    if (error != 0 && error != ENODEV)
        throw error_from_errno(error, fmt::format("cannot look at the network device {}", what));
    return found;
}

std::optional<Link> Links::find(const std::string& name) {
    return look(std::move(NetlinkMessage(RTM_GETLINK, 0).header(about(0)).text(IFLA_IFNAME, name)), name);
}

std::optional<Link> Links::find(int index) {
    return look(std::move(NetlinkMessage(RTM_GETLINK, 0).header(about(index))), std::to_string(index));
}

std::vector<Link> Links::all() {
    std::vector<Link> links;
    const int error = socket_.list(std::move(NetlinkMessage(RTM_GETLINK, 0).header(about(0))),
                                   [&](const NetlinkReply& reply) {
                                       if (reply.type == RTM_NEWLINK) links.push_back(link_of(reply));
                                   });
    if (error != 0) throw error_from_errno(error, "cannot list the network devices");
    return links;
}

void Links::make_bridge(const std::string& name, const std::string& mac) {
    ether_addr address{};
    if (::ether_aton_r(mac.c_str(), &address) == nullptr)
        throw Error{Code::internal, fmt::format("'{}' is no MAC", mac)};
    NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    message.header(about(0))
        .text(IFLA_IFNAME, name)
        // One of its own: otherwise it takes a port's, and changes as guests come and go.
        .attribute(IFLA_ADDRESS, {reinterpret_cast<const char*>(&address), sizeof address})
        .nested(IFLA_LINKINFO, [](NetlinkMessage& info) { info.text(IFLA_INFO_KIND, "bridge"); });
    const int error = socket_.ask(std::move(message));
    if (error == EEXIST) throw Error{Code::conflict, fmt::format("the network device {} exists", name)};
    if (error != 0) throw error_from_errno(error, fmt::format("cannot make the bridge {}", name));
}

void Links::make_tap(const std::string& name, unsigned owner) {
    std::exception_ptr failure;
    std::thread alone([&] {
        try {
            // A program that is being started has copies of this process's descriptors until it runs, and a
            // TAP that anybody has open cannot be opened by its VMM: so this thread has a table of its own.
            if (::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_UNSHARE) != 0)
                throw error_from_errno(errno, "cannot set descriptors apart");
            make_persistent_tap(name, owner);
        } catch (...) {
            failure = std::current_exception();
        }
    });
    alone.join();
    if (failure) std::rethrow_exception(failure);
}

void Links::change(const Link& link, const LinkChange& change) {
    const auto check = [&](int error) {
        if (error == EXFULL || error == ENOSPC)
            throw Error{Code::no_space,
                        fmt::format("{} cannot join the bridge: it has no port left", link.name),
                        "a bridge holds 1023 VMs: stop some"};
        if (error != 0) throw error_from_errno(error, fmt::format("cannot set up {}", link.name));
    };
    NetlinkMessage message(RTM_NEWLINK, 0);
    ifinfomsg header = about(link.index);
    // A port is isolated by a message of its own, so that it is before it can carry a frame.
    if (change.up && !change.isolated) header.ifi_flags = header.ifi_change = IFF_UP;
    message.header(header);
    if (change.alias) message.attribute(IFLA_IFALIAS, *change.alias);
    if (change.mtu) message.number(IFLA_MTU, static_cast<std::uint32_t>(*change.mtu));
    if (change.master) message.number(IFLA_MASTER, static_cast<std::uint32_t>(*change.master));
    check(socket_.ask(std::move(message)));
    if (!change.isolated) return;
    if (change.up) header.ifi_flags = header.ifi_change = IFF_UP;
    NetlinkMessage port(RTM_NEWLINK, 0);
    port.header(header).nested(IFLA_LINKINFO, [&](NetlinkMessage& info) {
        info.text(IFLA_INFO_SLAVE_KIND, "bridge");
        info.nested(IFLA_INFO_SLAVE_DATA, [&](NetlinkMessage& data) {
            data.number(IFLA_BRPORT_ISOLATED, static_cast<std::uint8_t>(*change.isolated));
        });
    });
    check(socket_.ask(std::move(port)));
}

bool Links::remove(const std::string& name) {
    const int error =
        socket_.ask(std::move(NetlinkMessage(RTM_DELLINK, 0).header(about(0)).text(IFLA_IFNAME, name)));
    if (error == ENODEV) return false;
    if (error != 0) throw error_from_errno(error, fmt::format("cannot remove the network device {}", name));
    return true;
}

std::vector<Subnet> Links::addresses(const Link& link) {
    ifaddrmsg header{};
    header.ifa_family = AF_INET;
    std::vector<Subnet> found;
    const int error = socket_.list(
        std::move(NetlinkMessage(RTM_GETADDR, 0).header(header)), [&](const NetlinkReply& reply) {
            const auto address = reply.header<ifaddrmsg>();
            if (reply.type != RTM_NEWADDR || address.ifa_index != static_cast<unsigned>(link.index)) return;
            found.push_back({from_network(reply.attributes<ifaddrmsg>().number(IFA_LOCAL)),
                             static_cast<int>(address.ifa_prefixlen)});
        });
    if (error != 0) throw error_from_errno(error, fmt::format("cannot list the addresses of {}", link.name));
    return found;
}

void Links::add_address(const Link& link, const Subnet& address) {
    const int error = socket_.ask(address_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, link, address));
    if (error != 0 && error != EEXIST)
        throw error_from_errno(error, fmt::format("cannot give {} to {}", address.text(), link.name));
}

void Links::remove_address(const Link& link, const Subnet& address) {
    const int error = socket_.ask(address_message(RTM_DELADDR, 0, link, address));
    if (error != 0 && error != EADDRNOTAVAIL)
        throw error_from_errno(error, fmt::format("cannot take {} from {}", address.text(), link.name));
}

std::vector<Route> Links::routes() {
    rtmsg header{};
    header.rtm_family = AF_INET;
    std::vector<Route> found;
    const int error = socket_.list(
        std::move(NetlinkMessage(RTM_GETROUTE, 0).header(header)), [&](const NetlinkReply& reply) {
            const auto route = reply.header<rtmsg>();
            if (reply.type != RTM_NEWROUTE || (route.rtm_flags & RTM_F_CLONED) != 0) return;
            if (route.rtm_type != RTN_UNICAST && route.rtm_type != RTN_LOCAL) return;
            const auto attributes = reply.attributes<rtmsg>();
            found.push_back({{from_network(attributes.number(RTA_DST)), route.rtm_dst_len},
                             static_cast<int>(attributes.number(RTA_OIF).value_or(0)),
                             attributes.number(RTA_PRIORITY).value_or(0)});
        });
    if (error != 0) throw error_from_errno(error, "cannot list the routes");
    return found;
}

std::optional<Link> Links::uplink() {
    std::optional<Route> best;
    for (const Route& route : routes())
        if (route.to.prefix == 0 && route.device != 0 && (!best || route.priority < best->priority))
            best = route;
    return best ? find(best->device) : std::nullopt;
}

bool set_sysctl(const std::string& name, const std::string& value) {
    const std::string path = "/proc/sys/net/" + name;
    try {
        constexpr std::size_t enough = 256;
        if (read_file(path, enough) == value + "\n") return true;
    } catch (const std::system_error& error) {
        if (error.code().value() == ENOENT) return false;
        throw error_from_errno(error.code().value(), fmt::format("cannot read {}", path));
    }
    const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file || ::write(file.get(), value.data(), value.size()) < 0)
        throw error_from_errno(errno, fmt::format("cannot write {} to {}", value, path));
    return true;
}

}  // namespace minions::core
