#include "machine.hpp"

#include <minions/base/fd.hpp>
#include <minions/base/files.hpp>

#include <arpa/inet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <system_error>

namespace minions::agent {

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

Fd control_socket() {
    Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!socket) fail("cannot make a socket");
    return socket;
}

ifreq request_for(const std::string& interface) {
    ifreq request{};
    std::memcpy(request.ifr_name, interface.data(), std::min<std::size_t>(interface.size(), IFNAMSIZ - 1));
    return request;
}

sockaddr address_of(const std::string& text, const char* field) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    if (::inet_pton(AF_INET, text.c_str(), &address.sin_addr) != 1)
        throw Refusal{End::refused, std::string("the ") + field + " '" + text + "' is no IPv4 address"};
    sockaddr result{};
    std::memcpy(&result, &address, sizeof address);
    return result;
}

std::string hardware_address(const Fd& socket, const std::string& interface) {
    ifreq request = request_for(interface);
    if (::ioctl(socket.get(), SIOCGIFHWADDR, &request) != 0 || request.ifr_hwaddr.sa_family != ARPHRD_ETHER)
        return {};
    char text[18];
    const auto* bytes = reinterpret_cast<const unsigned char*>(request.ifr_hwaddr.sa_data);
    std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3],
                  bytes[4], bytes[5]);
    return text;
}

/// The Ethernet interface with that MAC, or the first one where none is named.
std::string find_interface(const Fd& socket, const std::string& mac) {
    const std::unique_ptr<struct if_nameindex, void (*)(struct if_nameindex*)> list(::if_nameindex(),
                                                                                    ::if_freenameindex);
    for (const auto* each = list.get(); each != nullptr && each->if_index != 0; ++each) {
        const std::string found = hardware_address(socket, each->if_name);
        if (!found.empty() && (mac.empty() || found == mac)) return each->if_name;
    }
    throw Refusal{End::not_found, mac.empty() ? "there is no network interface"
                                              : "there is no interface with the address " + mac};
}

void set_up(const Fd& socket, const std::string& interface) {
    ifreq request = request_for(interface);
    if (::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0) fail("cannot read the state of " + interface);
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) fail("cannot bring " + interface + " up");
}

void set_address(const Fd& socket, const std::string& interface, const std::string& text) {
    const std::size_t slash = text.find('/');
    int bits = 32;
    if (slash != std::string::npos) {
        const auto [end, error] = std::from_chars(text.data() + slash + 1, text.data() + text.size(), bits);
        if (error != std::errc() || end != text.data() + text.size()) bits = 0;
    }
    if (bits < 1 || bits > 32)
        throw Refusal{End::refused, "the prefix length of '" + text + "' must be from 1 to 32"};
    ifreq request = request_for(interface);
    request.ifr_addr = address_of(text.substr(0, slash), "address");
    if (::ioctl(socket.get(), SIOCSIFADDR, &request) != 0) fail("cannot set the address of " + interface);
    sockaddr_in mask{};
    mask.sin_family = AF_INET;
    mask.sin_addr.s_addr = htonl(~std::uint32_t{0} << (32 - static_cast<unsigned>(bits)));
    std::memcpy(&request.ifr_netmask, &mask, sizeof mask);
    if (::ioctl(socket.get(), SIOCSIFNETMASK, &request) != 0) fail("cannot set the netmask of " + interface);
}

void set_default_route(const Fd& socket, const std::string& gateway) {
    rtentry route{};
    route.rt_dst = address_of("0.0.0.0", "destination");
    route.rt_genmask = address_of("0.0.0.0", "netmask");
    route.rt_gateway = address_of(gateway, "gateway");
    route.rt_flags = RTF_UP | RTF_GATEWAY;
    while (::ioctl(socket.get(), SIOCDELRT, &route) == 0) {  // of an earlier call
    }
    if (::ioctl(socket.get(), SIOCADDRT, &route) != 0) fail("cannot set the default route");
}

void set_host_name(const std::string& name) {
    if (name.size() > 64 || name.find_first_of("/ \n\t") != std::string::npos)
        throw Refusal{End::refused, "the host name '" + name + "' is none"};
    if (::sethostname(name.data(), name.size()) != 0) fail("cannot set the host name");
    write_file_atomic("/etc/hostname", name + "\n", 0644);
    // Without a line of its own the name has no address, and sudo and others complain.
    std::string hosts;
    try {
        hosts = read_file("/etc/hosts", std::size_t{1} << 20U);
    } catch (const std::system_error&) {
        hosts = "127.0.0.1\tlocalhost\n";
    }
    const std::size_t line = hosts.rfind("127.0.1.1", 0) == 0 ? 0 : hosts.find("\n127.0.1.1");
    if (line != std::string::npos) {
        const std::size_t begin = line == 0 ? 0 : line + 1;
        hosts.erase(begin, hosts.find('\n', begin) - begin + 1);
    }
    if (!hosts.empty() && hosts.back() != '\n') hosts.push_back('\n');
    write_file_atomic("/etc/hosts", hosts + "127.0.1.1\t" + name + "\n", 0644);
}

void set_name_servers(const std::vector<std::string>& servers) {
    std::string text;
    for (const std::string& server : servers) {
        address_of(server, "name server");
        text += "nameserver " + server + "\n";
    }
    write_file_atomic("/etc/resolv.conf", text, 0644);
}

std::string text_or_nothing(const Fields& request, std::uint8_t name) {
    return std::string(request.text(name).value_or(""));
}

}  // namespace

void set_interface_up(const char* name) { set_up(control_socket(), name); }

void set_network(const Fields& request) {
    const Fd socket = control_socket();
    if (const std::string address = text_or_nothing(request, tag::address); !address.empty()) {
        const std::string interface = find_interface(socket, text_or_nothing(request, tag::mac));
        if (const auto mtu = request.number(tag::mtu)) {
            ifreq change = request_for(interface);
            change.ifr_mtu = static_cast<int>(*mtu);
            if (::ioctl(socket.get(), SIOCSIFMTU, &change) != 0) fail("cannot set the MTU of " + interface);
        }
        set_address(socket, interface, address);
        set_up(socket, interface);
    }
    if (const std::string gateway = text_or_nothing(request, tag::gateway); !gateway.empty())
        set_default_route(socket, gateway);
    if (const auto servers = request.all(tag::name_server); !servers.empty()) set_name_servers(servers);
    if (const std::string name = text_or_nothing(request, tag::host_name); !name.empty()) set_host_name(name);
}

}  // namespace minions::agent
