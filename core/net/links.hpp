#pragma once

#include "core/net/netlink.hpp"
#include "core/net/subnet.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace minions::core {

/// A network device.
struct Link {
    int index = 0;
    std::string name;
    std::string alias;  ///< where what is ours carries our mark
    std::string kind;   ///< "bridge", "tun", …; empty for hardware
    std::string mac;    ///< lower case
    int master = 0;     ///< index of the bridge that it is a port of
    int mtu = 0;
};

/// What is changed of a device; absent is left alone.
struct LinkChange {
    std::optional<std::string> alias;
    std::optional<int> master;
    std::optional<int> mtu;
    std::optional<bool> isolated;  ///< of a port: no frames between two such
    bool up = false;
};

/// A route, or an address of the host's own (as a route to it alone).
struct Route {
    Subnet to;
    int device = 0;  ///< index; 0 where there is none or several
    std::uint32_t priority = 0;
};

/// Devices, addresses and routes of the calling thread's network namespace. Each function throws Error that
/// names the device. Not thread-safe.
class Links {
  public:
    Links() : socket_(0 /* NETLINK_ROUTE */) {}

    std::optional<Link> find(const std::string& name);
    std::optional<Link> find(int index);
    std::vector<Link> all();

    /// Throws conflict where something of that name exists.
    void make_bridge(const std::string& name, const std::string& mac);
    /// Makes a persistent TAP with vnet headers that `owner` may open. Throws conflict as above.
    void make_tap(const std::string& name, unsigned owner);
    void change(const Link& link, const LinkChange& change);
    /// False if there was none.
    bool remove(const std::string& name);

    std::vector<Subnet> addresses(const Link& link);
    void add_address(const Link& link, const Subnet& address);
    void remove_address(const Link& link, const Subnet& address);

    /// IPv4, of all tables: networks and addresses, not broadcasts.
    std::vector<Route> routes();
    /// The device that the rest of the world is reached by.
    std::optional<Link> uplink();

  private:
    std::optional<Link> look(NetlinkMessage message, const std::string& what);

    NetlinkSocket socket_;
};

/// Writes a file below /proc/sys/net unless it says so already. False if there is no such file; throws Error
/// if it cannot be written.
bool set_sysctl(const std::string& name, const std::string& value);

}  // namespace minions::core
