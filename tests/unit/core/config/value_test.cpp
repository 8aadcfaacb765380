#include "core/config/schema.hpp"

#include <minions/error.hpp>

#include <catch2/catch.hpp>

#include <set>

using namespace minions;
using namespace minions::core;
using Catch::Contains;

namespace {

ConfigKey key_of(KeyType type, std::int64_t min = 0, std::int64_t max = 100) {
    ConfigKey key;
    key.name = "k";
    key.type = type;
    key.min = min;
    key.max = max;
    return key;
}

std::string refusal(const ConfigKey& key, std::string_view text) {
    try {
        parse_config_value(key, text);
    } catch (const Error& error) {
        CHECK(error.code() == Code::invalid);
        return error.what();
    }
    return "accepted";
}

}  // namespace

TEST_CASE("integers keep to their bounds") {
    const auto key = key_of(KeyType::integer, 1, 60);
    CHECK(parse_config_value(key, " 60 ") == Value(60));
    for (const auto* bad : {"", "0", "61", "1x", "1 2", "x", "99999999999999999999", "1.5"}) {
        CHECK(refusal(key, bad) == std::string("must be an integer from 1 to 60, and is '") + bad + "'");
    }
}

TEST_CASE("sizes take binary units") {
    const auto key = key_of(KeyType::size, 0, std::int64_t{1} << 40);
    CHECK(parse_config_value(key, "16777216") == Value(16777216));
    CHECK(parse_config_value(key, "16MiB") == Value(16777216));
    CHECK(parse_config_value(key, "2 G") == Value(std::int64_t{2} << 30));
    CHECK_THAT(refusal(key, "2TiB"), Contains("a size in bytes"));
    CHECK_THAT(refusal(key, "5 apples"), Contains("a size in bytes"));
    CHECK_THAT(refusal(key, "-1"), Contains("a size in bytes"));
    CHECK_THAT(refusal(key, "9223372036854775807T"), Contains("a size in bytes"));
}

TEST_CASE("durations are seconds unless they say otherwise, kept in milliseconds") {
    const auto key = key_of(KeyType::duration, 1, 3600);
    CHECK(parse_config_value(key, "2") == Value(2000));
    CHECK(parse_config_value(key, "1500ms") == Value(1500));
    CHECK(parse_config_value(key, "5m") == Value(300'000));
    CHECK_THAT(refusal(key, "500ms"), Contains("from 1 to 3600"));
    CHECK_THAT(refusal(key, "2h"), Contains("from 1 to 3600"));
}

TEST_CASE("booleans, numbers, lists and words") {
    CHECK(parse_config_value(key_of(KeyType::boolean), "yes") == Value(true));
    CHECK(parse_config_value(key_of(KeyType::boolean), "off") == Value(false));
    CHECK(refusal(key_of(KeyType::boolean), "maybe") == "must be true or false, and is 'maybe'");
    CHECK(parse_config_value(key_of(KeyType::number), "0.5") == Value(0.5));
    CHECK_THAT(refusal(key_of(KeyType::number), "100.5"), Contains("a number from 0 to 100"));
    CHECK_THAT(refusal(key_of(KeyType::number), "nan"), Contains("a number"));
    CHECK(parse_config_value(key_of(KeyType::list), " a , ,b,") == Value::array({"a", "b"}));
    CHECK(parse_config_value(key_of(KeyType::list), "") == Value::array());

    auto words = key_of(KeyType::string);
    words.words = {"debug", "info"};
    CHECK(refusal(words, "infos") == "must be one of debug, info, and is 'infos'; did you mean 'info'?");
    words.type = KeyType::list;
    CHECK_THAT(refusal(words, "debug, x"), Contains("must be a list of debug, info, and is 'x'"));
}

TEST_CASE("a refused secret is not repeated") {
    auto key = key_of(KeyType::integer);
    key.secret = true;
    CHECK_THAT(refusal(key, "hunter2"), !Contains("hunter2"));
}

TEST_CASE("the schema of core is sound") {
    std::set<std::string> names;
    for (const auto& key : core_schema()) {
        CAPTURE(key.name);
        CHECK(names.insert(key.name).second);
        CHECK_FALSE(key.doc.empty());
        CHECK(key.doc.find('\n') == std::string::npos);
        CHECK_NOTHROW(parse_config_value(key, key.default_value));
    }
}

TEST_CASE("the reference names every key") {
    const auto text = configuration_markdown({{"docker", {key_of(KeyType::integer)}}});
    for (const auto& key : core_schema()) CHECK_THAT(text, Contains("| `" + key.name + "` |"));
    CHECK_THAT(text, Contains("| `runtimes.docker.k` | integer, 0 to 100 |"));
}

TEST_CASE("keys of plugins of an unknown type are refused") {
    const minions_config_key key{"socket", "path", "", INT64_MIN, INT64_MAX, 0, "d"};
    CHECK_THROWS_WITH(config_key_of(key), Contains("'socket' has the unknown type 'path'"));
}
