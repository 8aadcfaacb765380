#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace minions::core {

/// An IPv4 address with the length of its network's prefix: "10.0.0.1/16". Addresses are numbers in the
/// host's byte order.
struct Subnet {
    std::uint32_t address = 0;
    int prefix = 32;

    std::uint32_t mask() const { return prefix == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix); }
    std::uint32_t network() const { return address & mask(); }
    std::uint32_t broadcast() const { return network() | ~mask(); }
    bool overlaps(const Subnet& other) const;
    bool operator==(const Subnet& other) const = default;

    /// "10.0.0.1/16"
    std::string text() const;
    /// "10.0.0.0/16"
    std::string network_text() const;
};

/// "10.0.0.1"
std::string address_text(std::uint32_t address);
/// Throws invalid.
std::uint32_t parse_address(std::string_view text);

/// The addresses of VMs: all of a network but the gateway's own, which the subnet is given by.
class GuestAddresses {
  public:
    GuestAddresses(Subnet gateway, std::string_view installation);

    const Subnet& gateway() const { return gateway_; }
    /// How many there are.
    std::int64_t count() const;
    /// The address of a slot, from 0 and below count().
    std::uint32_t address(std::int64_t slot) const;
    /// Locally administered, the same for ever, and unlike those of other installations.
    std::string mac(std::int64_t slot) const;
    std::string bridge_mac() const;

  private:
    Subnet gateway_;
    std::uint16_t installation_;
};

/// As `network.subnet` has it: the gateway's address with a prefix of 8 to 30. Throws invalid.
Subnet parse_subnet(std::string_view text);

}  // namespace minions::core
