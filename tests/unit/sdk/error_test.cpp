#include <minions/error.hpp>

#include <catch2/catch.hpp>

#include <cerrno>
#include <system_error>

using namespace minions;

TEST_CASE("an error crosses the seam whole") {
    Error error(Code::busy, "the instance is busy", "wait", true);
    error.with("operation", "op1");
    const Error arrived = decode_error(parse_json(to_json(encode_error(error))));
    CHECK(arrived.code() == Code::busy);
    CHECK(arrived.message() == "the instance is busy");
    CHECK(arrived.hint() == "wait");
    CHECK(arrived.retryable());
    CHECK(arrived.details()["operation"] == Value("op1"));
    CHECK(std::string(arrived.what()) == "the instance is busy; wait");
}

TEST_CASE("a code that only a newer version knows counts as internal") {
    CHECK(decode_error(parse_json(R"({"code":"eaten_by_dog","message":"m"})")).code() == Code::internal);
    CHECK(decode_error(parse_json("7")).code() == Code::internal);
}

TEST_CASE("every exception becomes an error") {
    const auto caught = [](auto thrown) {
        try {
            throw thrown;
        } catch (...) {
            return current_error();
        }
    };
    CHECK(caught(Error(Code::conflict, "x")).code() == Code::conflict);
    CHECK(caught(std::system_error(ENOSPC, std::generic_category(), "write")).code() == Code::no_space);
    CHECK(caught(std::runtime_error("boom")).message() == "boom");
    CHECK(caught(std::bad_alloc()).retryable());
    CHECK(caught(42).code() == Code::internal);
}
