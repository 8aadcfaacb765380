#include "core/deployments/addresses.hpp"

#include <minions/base/event_fd.hpp>
#include <minions/base/sync.hpp>
#include <minions/error.hpp>

#include <fmt/format.h>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>

namespace minions::core {
namespace {

struct Block4 {
    std::uint32_t network;
    int bits;
};
// IANA's special-purpose registry: everything that is not "globally reachable".
constexpr Block4 special4[] = {
    {0x00000000, 8},   // this network
    {0x0A000000, 8},   // private
    {0x64400000, 10},  // shared (CGNAT)
    {0x7F000000, 8},   // loopback
    {0xA9FE0000, 16},  // link-local, cloud metadata
    {0xAC100000, 12},  // private
    {0xC0000000, 24},  // protocol assignments
    {0xC0000200, 24},  // documentation
    {0xC0586300, 24},  // 6to4 relays
    {0xC0A80000, 16},  // private
    {0xC6120000, 15},  // benchmarking
    {0xC6336400, 24},  // documentation
    {0xCB007100, 24},  // documentation
    {0xE0000000, 4},   // multicast
    {0xF0000000, 4},   // reserved, broadcast
};

bool is_public4(std::uint32_t address) noexcept {
    return std::none_of(std::begin(special4), std::end(special4), [&](const Block4& block) {
        return ((address ^ block.network) >> (32 - block.bits)) == 0;
    });
}

std::uint32_t embedded4(const std::uint8_t* bytes) noexcept {
    return (std::uint32_t{bytes[0]} << 24U) | (std::uint32_t{bytes[1]} << 16U) |
           (std::uint32_t{bytes[2]} << 8U) | bytes[3];
}

bool is_public6(const std::uint8_t (&a)[16]) noexcept {
    constexpr std::uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (std::memcmp(a, nat64, sizeof nat64) == 0) return is_public4(embedded4(a + 12));
    if (a[0] == 0x20 && a[1] == 0x02) return is_public4(embedded4(a + 2));  // 6to4
    // Of the rest only 2000::/3 is given out; ::, ::1, v4-mapped, fe80::, fc00::, ff00:: are outside of it.
    if ((a[0] & 0xE0U) != 0x20) return false;
    if (a[0] == 0x20 && a[1] == 0x01) {
        if (a[2] < 0x02) return false;                   // 2001::/23: Teredo, ORCHID and other protocols
        if (a[2] == 0x0d && a[3] == 0xb8) return false;  // documentation
    }
    return !(a[0] == 0x3f && a[1] == 0xff && a[2] < 0x10);  // documentation
}

std::string text_of(const sockaddr& address) {
    char text[INET6_ADDRSTRLEN] = {};
    if (address.sa_family == AF_INET) {
        ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof text);
    } else {
        ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text, sizeof text);
    }
    return text;
}

[[noreturn]] void refuse_private(std::string_view host, std::string_view address) {
    throw Error(Code::invalid,
                host == address
                    ? fmt::format("field 'repo_url' names the address {}, which is not public", host)
                    : fmt::format("field 'repo_url' names the host '{}', whose address {} is not public",
                                  host, address),
                "the setting deployments.allow_private_addresses allows repositories on private networks");
}

struct AddressListDelete {
    void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using AddressList = std::unique_ptr<addrinfo, AddressListDelete>;

int look_up(const std::string& host, int flags, AddressList& list) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
    list.reset(error == 0 ? found : nullptr);
    return error;
}

/// Shared by the caller and the resolver's thread; whoever is last frees it.
struct Lookup {
    struct Answer {
        int error = 0;
        AddressList list;
    };
    std::string host;
    Sync<Answer> answer;
    EventFd done;
};

}  // namespace

bool is_public_address(const sockaddr& address) noexcept {
    if (address.sa_family == AF_INET) {
        return is_public4(ntohl(reinterpret_cast<const sockaddr_in&>(address).sin_addr.s_addr));
    }
    if (address.sa_family == AF_INET6) {
        return is_public6(reinterpret_cast<const sockaddr_in6&>(address).sin6_addr.s6_addr);
    }
    return false;
}

std::string canonical_host(std::string_view host) {
    std::string name(host);
    while (!name.empty() && name.back() == '.') name.pop_back();
    AddressList list;
    return look_up(name, AI_NUMERICHOST, list) == 0 ? text_of(*list->ai_addr) : name;
}

void refuse_private_host(std::string_view given) {
    const std::string host = canonical_host(given);
    if (host == "localhost" || host.ends_with(".localhost")) refuse_private(host, "127.0.0.1");
    AddressList list;
    if (look_up(host, AI_NUMERICHOST, list) != 0) return;
    for (const addrinfo* entry = list.get(); entry != nullptr; entry = entry->ai_next) {
        if (!is_public_address(*entry->ai_addr)) refuse_private(host, text_of(*entry->ai_addr));
    }
}

std::vector<std::string> resolve_host(const std::string& host, bool public_only, Deadline deadline,
                                      int cancel_fd) {
    auto lookup = std::make_shared<Lookup>();
    lookup->host = host;
    std::thread([lookup] {
        AddressList list;
        const int error = look_up(lookup->host, 0, list);
        {
            auto answer = lookup->answer.lock();
            answer->error = error;
            answer->list = std::move(list);
        }
        lookup->done.raise();
    }).detach();

    pollfd wait[2] = {{lookup->done.fd(), POLLIN, 0}, {cancel_fd, POLLIN, 0}};
    if (poll_until(wait, 2, deadline) == 0) {
        throw Error(Code::deadline, fmt::format("the host '{}' did not resolve in time", host));
    }
    if (wait[1].revents != 0) throw Error(Code::cancelled, "the deployment was cancelled");

    const auto answer = lookup->answer.lock();
    if (answer->error != 0) {
        throw Error(Code::failed, fmt::format("the host '{}' of 'repo_url' does not resolve: {}", host,
                                              ::gai_strerror(answer->error)));
    }
    std::vector<std::string> result;
    for (const addrinfo* entry = answer->list.get(); entry != nullptr; entry = entry->ai_next) {
        if (entry->ai_family != AF_INET && entry->ai_family != AF_INET6) continue;
        if (public_only && !is_public_address(*entry->ai_addr))
            refuse_private(host, text_of(*entry->ai_addr));
        result.push_back(text_of(*entry->ai_addr));
    }
    if (result.empty()) throw Error(Code::failed, fmt::format("the host '{}' has no address", host));
    return result;
}

}  // namespace minions::core
