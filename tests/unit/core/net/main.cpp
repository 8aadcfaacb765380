#define CATCH_CONFIG_RUNNER
#include "tests/unit/core/net/support.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>

#include <iostream>

int main(int argc, char** argv) {
    try {
        minions::core::Namespace().run([] {
            const minions::Fd tun(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
            if (!tun) throw std::runtime_error("/dev/net/tun cannot be opened");
        });
    } catch (const std::exception& error) {
        std::cerr << "skipped: network namespaces with TAPs need root (" << error.what() << ")\n";
        constexpr int skipped = 77;
        return skipped;
    }
    return Catch::Session().run(argc, argv);
}
