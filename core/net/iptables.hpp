#pragma once

#include <string>
#include <vector>

namespace minions::core {

struct IptablesOptions {
    std::string mark;  ///< comment of each rule of ours
    std::string bridge;
    bool isolate = true;
};

/// Rules in another's chain: where Docker or an administrator drops what is forwarded, our own nftables
/// cannot let it through. Ours stand first, carry a comment, and nothing else there is touched. Starts the
/// program iptables: not for a busy path.
class Iptables {
  public:
    explicit Iptables(IptablesOptions options) : options_(std::move(options)) {}

    /// The chain that needs rules of ours: DOCKER-USER where there is one, FORWARD where its policy is DROP.
    /// Empty for neither, and where there is no iptables.
    std::string needed_chain() const;
    /// Puts ours into the chain, as they must be now; what is there already stays. Throws failed.
    void set(const std::string& chain) const;
    /// Removes ours from the chain. Repeatable; no chain or no iptables is no error.
    void remove(const std::string& chain) const;

  private:
    using Rule = std::vector<std::string>;
    std::vector<Rule> wanted(const std::string& chain) const;
    std::vector<Rule> ours(const std::string& chain) const;

    const IptablesOptions options_;
};

}  // namespace minions::core
