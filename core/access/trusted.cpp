#include "core/access/access.hpp"

#include <minions/error.hpp>

#include <Poco/Exception.h>
#include <Poco/Net/SocketAddress.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace minions::core {
namespace {

[[noreturn]] void refuse(std::string_view entry, std::string_view why) {
    throw Error(Code::invalid, fmt::format("has the network '{}', which {}", entry, why),
                "write <network>=<scope>, for example 100.64.0.0/10=manage");
}

unsigned parse_prefix(std::string_view entry, std::string_view text, unsigned bits) {
    unsigned prefix = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), prefix);
    if (error != std::errc() || end != text.data() + text.size() || prefix > bits) {
        refuse(entry, fmt::format("needs a prefix length from 0 to {}", bits));
    }
    return prefix;
}

bool is_loopback(const std::string& address) {
    try {
        const Poco::Net::SocketAddress parsed(address);
        const auto ip = IpAddress::from(parsed.addr());
        return ip && ip->is_loopback();
    } catch (const Poco::Exception&) {
        throw Error(Code::invalid, fmt::format("'{}' is no address to listen on", address),
                    "write it as 127.0.0.1:3000 or [::1]:3000");
    }
}

}  // namespace

TrustedNetwork parse_trusted(std::string_view entry) {
    const std::size_t equals = entry.rfind('=');
    if (equals == std::string_view::npos) refuse(entry, "names no scope");
    const std::string_view network = entry.substr(0, equals);
    const std::size_t slash = std::min(network.find('/'), network.size());
    const auto address = IpAddress::parse(network.substr(0, slash));
    if (!address) refuse(entry, "does not start with an IPv4 or IPv6 network");
    const auto scope = scope_from_word(entry.substr(equals + 1));
    if (!scope) refuse(entry, "needs one of the scopes read, exec, manage, admin");
    unsigned prefix = address->bits();
    if (slash < network.size()) prefix = parse_prefix(entry, network.substr(slash + 1), address->bits());
    return {*address, prefix, *scope};
}

void check_bind(const std::vector<std::string>& addresses, bool has_token,
                const std::vector<TrustedNetwork>& trusted) {
    const bool networks = std::any_of(trusted.begin(), trusted.end(), [](const TrustedNetwork& entry) {
        return !entry.network.is_loopback();
    });
    for (const auto& address : addresses) {
        if (is_loopback(address) || has_token || networks) continue;
        throw Error(
            Code::invalid,
            fmt::format(
                "refusing to listen on {}: others than this machine could reach it, and there is neither "
                "a token nor a trusted network",
                address),
            "make a token first (minions token create), or name the networks that may call without one "
            "(access.trusted = 100.64.0.0/10=manage)");
    }
}

}  // namespace minions::core
