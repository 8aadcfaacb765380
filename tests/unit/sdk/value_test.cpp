#include <minions/error.hpp>
#include <minions/value.hpp>

#include <catch2/catch.hpp>

#include <ctime>
#include <limits>

using namespace minions;
using Catch::Matchers::Contains;

namespace {

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

}  // namespace

TEST_CASE("documents are bounded in depth and size") {
    CHECK_NOTHROW(parse_json(nested(32)));
    CHECK_THROWS_WITH(parse_json(nested(33)), Contains("nested deeper than 32 levels"));
    CHECK_NOTHROW(parse_json(nested(3), {.depth = 3}));
    CHECK_THROWS_WITH(parse_json(nested(100000)), Contains("nested deeper"));
    CHECK_THROWS_WITH(parse_json("[1,2,3]", {.depth = 32, .bytes = 6}), Contains("more than 6 bytes"));
}

TEST_CASE("what could be read in two ways is refused") {
    CHECK_THROWS_WITH(parse_json(R"({"a":1,"b":{"a":1},"a":2})"), Contains("'a' twice"));
    CHECK_NOTHROW(parse_json(R"({"a":1,"b":{"a":1}})"));
    CHECK_THROWS_WITH(parse_json("\"\xc3\x28\""), Contains("UTF-8"));
    CHECK_THROWS_WITH(parse_json("\"\xed\xa0\x80\""), Contains("UTF-8"));  // a surrogate
    CHECK_THROWS_WITH(parse_json("\"\xc0\x80\""), Contains("UTF-8"));      // an overlong NUL
    CHECK_THROWS_WITH(parse_json(R"("a\u0000b")"), Contains("NUL"));
    CHECK_THROWS_WITH(parse_json(R"({"a\u0000":1})"), Contains("NUL"));
}

TEST_CASE("an object of very many members costs about what an array of them does") {
    std::string object = "{";
    std::string array = "[";
    for (int i = 0; object.size() < (1U << 20U); ++i) {
        const std::string name = "\"" + std::to_string(i) + "\"";
        object += (i == 0 ? "" : ",") + name + ":1";
        array += (i == 0 ? "" : ",") + name + ",1";
    }
    const auto time_of = [](const std::string& text) {
        const auto before = std::clock();
        CHECK_NOTHROW(parse_json(text));
        return std::clock() - before;
    };
    const auto plain = time_of(array + "]");
    CHECK(time_of(object + "}") < 20 * plain);  // comparing each with each: several hundred times
    CHECK_THROWS_WITH(parse_json(object + ",\"77\":2}"), Contains("'77' twice"));
}

TEST_CASE("text that is no document is refused, saying where") {
    for (const auto* text : {"", "{", "[1,]", "{\"a\"}", "nul", "1 2", "'a'", "{} //", "[1]x"}) {
        INFO(text);
        CHECK_THROWS_WITH(parse_json(text), Contains("not valid JSON") && Contains("at byte"));
    }
}

TEST_CASE("integers keep their value as long as they fit") {
    CHECK(*parse_json("9223372036854775807").if_int() == std::numeric_limits<std::int64_t>::max());
    CHECK(*parse_json("-9223372036854775808").if_int() == std::numeric_limits<std::int64_t>::min());
    CHECK(parse_json("9223372036854775808").if_double() != nullptr);
    CHECK(*parse_json("1.5").if_double() == 1.5);
}

TEST_CASE("writing and reading gives the same value") {
    const Value value = Value::object({{"text", "a\"\\\n\t\x01 ü €"},
                                       {"list", Value::array({1, -2, 2.5, true, nullptr})},
                                       {"empty", Value::object()},
                                       {"none", Value::array()}});
    CHECK(parse_json(to_json(value)) == value);
    CHECK(parse_json(to_pretty_json(value)) == value);
    CHECK(to_json(Value("\x01")) == R"("\u0001")");
}

TEST_CASE("bytes that are no text never leave as invalid JSON") {
    const std::string written = to_json(Value("a\xff z"));
    CHECK(written == "\"a\xEF\xBF\xBD z\"");
    CHECK_NOTHROW(parse_json(written));
    CHECK(to_json(Value(std::numeric_limits<double>::infinity())) == "null");
}

TEST_CASE("members are found, replaced and added in order") {
    Value value;
    value.set("b", 1).set("a", 2).set("b", 3);
    CHECK(to_json(value) == R"({"b":3,"a":2})");
    CHECK(value["nothing"]["below"].is_null());
    CHECK(value["a"].string_or("x") == "x");
    CHECK(value["a"].int_or(0) == 2);
}
