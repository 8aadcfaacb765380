#pragma once

#include "core/access/token.hpp"
#include "core/store/store.hpp"

#include <minions/base/sync.hpp>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace minions::core {

/// The tokens of the database. Looking one up is done in memory, so that no request waits for the disk to
/// learn who calls; the only place that changes them. [any thread]
class StoredTokens final : public TokenStore {
  public:
    explicit StoredTokens(Store& store);

    /// A token of a scope that this version does not know is unknown.
    std::optional<Token> find(std::string_view hash) override;
    /// Whether there is one that has not expired.
    bool any() const;
    /// By age.
    std::vector<TokenRow> list() const;
    void add(const TokenRow& row);
    /// False if there was none of that id.
    bool remove(const std::string& id);

  private:
    Store& store_;
    Sync<std::map<std::string, Token, std::less<>>> by_hash_;
};

}  // namespace minions::core
