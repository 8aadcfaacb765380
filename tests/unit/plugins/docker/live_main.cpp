#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <cstdio>
#include <cstdlib>

/// What ctest takes for "skipped".
constexpr int skipped = 77;

int main(int argc, char** argv) {
    if (std::getenv("MINIONS_TEST_DOCKER_SOCKET") == nullptr) {
        std::puts(
            "SKIPPED: set MINIONS_TEST_DOCKER_SOCKET to the socket of an engine that has python:3.11-slim");
        return skipped;
    }
    return Catch::Session().run(argc, argv);
}
