#pragma once

#include "core/net/subnet.hpp"

#include <minions/context.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// The network that VMs are in.
struct NetOptions {
    bool manage = true;  ///< make bridge and rules; otherwise they are somebody else's, and used as they are
    std::string bridge = "br0";     ///< empty: no bridge, each VMM has a network of its own
    Subnet subnet{0x0a000001, 16};  ///< with the gateway's address
    std::vector<std::string> dns;   ///< empty: what the host itself asks
    bool isolate = true;            ///< guests do not reach each other
    int mtu = 0;                    ///< 0: the uplink's
    std::int64_t slots = 65536;     ///< VMs that there can be at all
    std::function<void(LogLevel, std::string_view)> log;
};

/// Throws invalid for what cannot be the name of a bridge of VMs; an empty one stands for none.
void check_bridge_name(std::string_view name);
/// As `network.mtu` has it: 0, or what IPv4 needs at least. Throws invalid.
void check_mtu(std::string_view mtu);

}  // namespace minions::core
