#pragma once

#include "core/access/peer.hpp"
#include "core/access/principal.hpp"
#include "core/access/token.hpp"
#include "core/http/router.hpp"

#include <minions/base/sync.hpp>

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// One `<cidr>=<scope>` of access.trusted.
struct TrustedNetwork {
    IpAddress network;
    unsigned prefix = 0;
    Scope scope = Scope::read;
};

/// "100.64.0.0/10=manage", "fd00::/8=read", "10.1.2.3=exec". Throws Error{invalid} whose message is a clause
/// that follows the name of the setting.
TrustedNetwork parse_trusted(std::string_view entry);

/// Throws Error{invalid} naming both cures if one of `addresses` ("0.0.0.0:3000") is no loopback address
/// while nobody could be told from anybody else: there is neither a token nor a trusted network.
void check_bind(const std::vector<std::string>& addresses, bool has_token,
                const std::vector<TrustedNetwork>& trusted);

/// What of the configuration concerns access.
struct AccessRules {
    std::vector<TrustedNetwork> trusted;  ///< the longest prefix that fits a caller counts
    std::vector<std::string> hosts;       ///< access.hosts: names under which clients reach the daemon
    std::string group = "minions";
};

/// Decides who calls and what they may do.
///
/// A bearer token vouches for its holder. Without one, root, the daemon's user and members of the group get
/// admin by Unix socket or loopback TCP, and callers of trusted networks their scope; for those `Host` and
/// `Origin` are checked, because a browser that was lured to a hostile page can act in their name. [any
/// thread]
class Access {
  public:
    /// How accounts are looked up; replaced in tests.
    struct System {
        uid_t daemon_uid;
        std::vector<std::string> machine_names;
        std::function<std::optional<gid_t>(const std::string& group)> group_id;
        /// Whether the account database has the user in the group, primary or supplementary.
        std::function<bool(uid_t, gid_t)> is_member;
        static System real();
    };

    /// `tokens` may be null: then no token is known.
    Access(AccessRules rules, std::shared_ptr<TokenStore> tokens, System system = System::real());

    void set_rules(AccessRules rules);

    /// For http::Options::authorize. Throws Error: unauthenticated, forbidden, misdirected.
    Principal admit(const http::Request& request, http::Permission needed) const;

  private:
    struct Rules;
    Principal identify(const http::Request& request, const Rules& rules) const;
    Principal by_token(std::string_view authorization) const;
    Principal by_unix_peer(const Peer& peer, const Rules& rules) const;
    Principal by_address(const http::Request& request, Peer& peer, const Rules& rules) const;
    bool is_ours(uid_t uid, const Rules& rules) const;
    void check_host(const http::Request& request, const Peer& peer, const Rules& rules) const;

    const System system_;
    const std::shared_ptr<TokenStore> tokens_;
    Sync<std::shared_ptr<const Rules>> rules_;
};

}  // namespace minions::core
