#include "core/net/subnet.hpp"

#include <minions/error.hpp>

#include <fmt/format.h>

#include <arpa/inet.h>

#include <charconv>

namespace minions::core {
namespace {

constexpr std::uint32_t bridge_slot = 0xffffff;

}  // namespace

bool Subnet::overlaps(const Subnet& other) const {
    const std::uint32_t common = mask() & other.mask();
    return (address & common) == (other.address & common);
}

std::string Subnet::text() const { return fmt::format("{}/{}", address_text(address), prefix); }
std::string Subnet::network_text() const { return fmt::format("{}/{}", address_text(network()), prefix); }

std::string address_text(std::uint32_t address) {
    return fmt::format("{}.{}.{}.{}", address >> 24U, address >> 16U & 255U, address >> 8U & 255U,
                       address & 255U);
}

std::uint32_t parse_address(std::string_view text) {
    in_addr address{};
    if (::inet_pton(AF_INET, std::string(text).c_str(), &address) != 1)
        throw Error{Code::invalid, fmt::format("must be an IPv4 address, and is '{}'", text)};
    return ntohl(address.s_addr);
}

Subnet parse_subnet(std::string_view text) {
    const auto refuse = [&](const char* must) {
        return Error{Code::invalid, fmt::format("must {}, and is '{}'", must, text),
                     "give the gateway's address with a prefix of 8 to 30, as in 10.0.0.1/16"};
    };
    const auto slash = text.find('/');
    if (slash == std::string_view::npos) throw refuse("have a prefix length of 8 to 30");
    const std::string_view digits = text.substr(slash + 1);
    Subnet subnet;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), subnet.prefix);
    if (error != std::errc{} || end != digits.data() + digits.size() || subnet.prefix < 8 ||
        subnet.prefix > 30)
        throw refuse("have a prefix length of 8 to 30");
    subnet.address = parse_address(text.substr(0, slash));
    if (subnet.address == subnet.network() || subnet.address == subnet.broadcast())
        throw refuse("be the address of a host in its network");
    return subnet;
}

GuestAddresses::GuestAddresses(Subnet gateway, std::string_view installation) : gateway_(gateway) {
    std::uint32_t hash = 2166136261U;  // FNV-1a
    for (const char each : installation) hash = (hash ^ static_cast<unsigned char>(each)) * 16777619U;
    installation_ = static_cast<std::uint16_t>(hash ^ hash >> 16U);
}

std::int64_t GuestAddresses::count() const {
    return std::int64_t{gateway_.broadcast()} - gateway_.network() - 2;
}

std::uint32_t GuestAddresses::address(std::int64_t slot) const {
    const std::uint32_t address = gateway_.network() + 1 + static_cast<std::uint32_t>(slot);
    return address < gateway_.address ? address : address + 1;
}

std::string GuestAddresses::mac(std::int64_t slot) const {
    const auto number = static_cast<std::uint32_t>(slot);
    return fmt::format("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", installation_ >> 8U, installation_ & 255U,
                       number >> 16U & 255U, number >> 8U & 255U, number & 255U);
}

std::string GuestAddresses::bridge_mac() const { return mac(bridge_slot); }

}  // namespace minions::core
