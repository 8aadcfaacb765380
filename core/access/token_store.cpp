#include "core/access/token_store.hpp"

#include "core/store/ids.hpp"

#include <algorithm>

namespace minions::core {
namespace {

std::optional<Token> token_of(const TokenRow& row) {
    const auto scope = scope_from_word(row.scope);
    if (!scope) return std::nullopt;
    Token token{row.id, row.name, row.hash, *scope, std::nullopt};
    if (row.expires_at) token.expires = parse_rfc3339(*row.expires_at);
    return token;
}

}  // namespace

StoredTokens::StoredTokens(Store& store) : store_(store) {
    const auto rows = list();
    const auto known = by_hash_.lock();
    for (const auto& row : rows) {
        if (auto token = token_of(row)) known->emplace(row.hash, std::move(*token));
    }
}

std::optional<Token> StoredTokens::find(std::string_view hash) {
    const auto known = by_hash_.lock();
    const auto found = known->find(hash);
    return found == known->end() ? std::nullopt : std::optional(found->second);
}

bool StoredTokens::any() const {
    const auto now = std::chrono::system_clock::now();
    const auto known = by_hash_.lock();
    return std::any_of(known->begin(), known->end(), [now](const auto& entry) {
        return !entry.second.expires || *entry.second.expires > now;
    });
}

std::vector<TokenRow> StoredTokens::list() const {
    return store_.transact([](Transaction& transaction) { return transaction.tokens(); });
}

void StoredTokens::add(const TokenRow& row) {
    store_.transact([&](Transaction& transaction) {
        transaction.insert_token(row);
        transaction.after_commit([this, token = token_of(row)] {
            if (token) by_hash_.lock()->insert_or_assign(token->hash, *token);
        });
    });
}

bool StoredTokens::remove(const std::string& id) {
    return store_.transact([&](Transaction& transaction) {
        transaction.after_commit([this, id] {
            const auto known = by_hash_.lock();
            std::erase_if(*known, [&](const auto& entry) { return entry.second.id == id; });
        });
        return transaction.delete_token(id);
    });
}

}  // namespace minions::core
