#pragma once

#include "core/net/subnet.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace minions::core {

/// What a port of the bridge may say it is: frames with another sender are dropped.
struct GuestPort {
    std::string device;
    std::string mac;
    std::uint32_t address = 0;
};

struct FirewallOptions {
    std::string installation;
    std::string bridge;
    Subnet subnet;        ///< with the gateway's address
    bool isolate = true;  ///< also what the host would route from one guest to another
};

/// Our nftables: a table for what is routed (`inet`) and one for what crosses the bridge (`bridge`), both
/// named after the installation. Guests reach out through NAT; they reach the host itself by an echo request
/// to the gateway alone, and no link-local address behind it (a cloud's metadata). [any thread]
class Firewall {
  public:
    explicit Firewall(FirewallOptions options);

    /// Makes both tables anew, in one transaction, with these guests. Throws unavailable where the kernel
    /// does not offer what they need.
    void set(const std::vector<GuestPort>& guests) const;
    /// Removes both. Repeatable.
    void remove() const;

    /// Lets a port speak. Repeatable. Throws not_found if there are no tables (any more).
    void add(const GuestPort& guest) const;
    /// Repeatable, and no error without tables.
    void remove(const GuestPort& guest) const;

    const std::string& table() const { return table_; }

  private:
    std::string rules(const std::vector<GuestPort>& guests) const;
    int change(std::uint16_t type, const GuestPort& guest) const;

    const FirewallOptions options_;
    const std::string table_;
};

}  // namespace minions::core
