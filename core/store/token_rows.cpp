#include "core/store/transaction_impl.hpp"

namespace minions::core {

void Transaction::insert_token(const TokenRow& row) {
    impl_.sql->command(
        "INSERT INTO tokens (id, hash, name, scope, last4, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        row.id, row.hash, row.name, row.scope, row.last4, row.created_at, time_text(row.expires_at));
}

std::vector<TokenRow> Transaction::tokens() {
    using Text = std::string;
    std::vector<TokenRow> rows;
    for (auto& [id, hash, name, scope, last4, created_at, expires_at] :
         impl_.sql->query<Text, Text, Text, Text, Text, Text, Text>(
             "SELECT id, hash, name, scope, last4, created_at, expires_at FROM tokens ORDER BY created_at, "
             "id")) {
        rows.push_back({std::move(id), std::move(hash), std::move(name), std::move(scope), std::move(last4),
                        std::move(created_at), text_time(std::move(expires_at))});
    }
    return rows;
}

bool Transaction::delete_token(std::string_view id) {
    impl_.sql->command("DELETE FROM tokens WHERE id = ?", id);
    return impl_.sql->number("SELECT changes()") > 0;
}

}  // namespace minions::core
