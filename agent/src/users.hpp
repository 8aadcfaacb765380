#pragma once

#include <minions/base/spawn.hpp>

#include <string>
#include <string_view>

namespace minions::agent {

struct User {
    Identity identity;
    std::string name;
    std::string home;
};

/// A user as exec names it: empty (root), a name, or uid[:gid]. Read from /etc/passwd and /etc/group by
/// ourselves: a static program cannot load the C library's name services. Throws Refusal.
User find_user(std::string_view text);

}  // namespace minions::agent
