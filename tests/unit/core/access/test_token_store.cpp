#include "core/access/token_store.hpp"
#include "core/store/ids.hpp"
#include "tests/unit/core/store/temporary_directory.hpp"

#include <catch2/catch.hpp>

using namespace minions;
using namespace minions::core;

namespace {

TokenRow row(const std::string& id, std::optional<std::chrono::seconds> expires = {}) {
    TokenRow made{id, "hash of " + id, "name of " + id, "exec", "abcd", now_rfc3339(), {}};
    if (expires) made.expires_at = rfc3339(std::chrono::system_clock::now() + *expires);
    return made;
}

}  // namespace

TEST_CASE("tokens outlive the daemon, until they are revoked") {
    const TemporaryDirectory directory;
    {
        Store store(directory.path());
        StoredTokens tokens(store);
        CHECK_FALSE(tokens.any());
        tokens.add(row("a"));
        tokens.add(row("b"));
        CHECK(tokens.find("hash of a")->scope == Scope::exec);
        CHECK(tokens.remove("a"));
        CHECK_FALSE(tokens.remove("a"));
        CHECK_FALSE(tokens.find("hash of a"));
    }
    Store store(directory.path());
    StoredTokens tokens(store);
    CHECK_FALSE(tokens.find("hash of a"));
    CHECK(tokens.find("hash of b")->name == "name of b");
    CHECK(tokens.list().size() == 1);
}

TEST_CASE("looking a token up does not wait for a change of the database") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    StoredTokens tokens(store);
    tokens.add(row("a"));
    // A second transaction would have to wait for this one.
    store.transact([&](Transaction&) { CHECK(tokens.find("hash of a")); });
}

TEST_CASE("tokens that have expired tell nobody apart") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    StoredTokens tokens(store);
    tokens.add(row("old", std::chrono::seconds(-1)));
    CHECK(tokens.find("hash of old"));
    CHECK_FALSE(tokens.any());
    tokens.add(row("new", std::chrono::hours(1)));
    CHECK(tokens.any());
}

TEST_CASE("a token of an unknown scope, or of a change that was undone, is none") {
    const TemporaryDirectory directory;
    Store store(directory.path());
    StoredTokens tokens(store);
    auto strange = row("strange");
    strange.scope = "emperor";
    tokens.add(strange);
    CHECK_FALSE(tokens.find("hash of strange"));
    CHECK_THROWS(tokens.add(strange));  // its id is taken
    CHECK(tokens.list().size() == 1);
}
