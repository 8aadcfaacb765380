#pragma once

#include <minions/base/fd.hpp>

#include <sys/resource.h>

namespace minions::testing {

/// While it lives, this process can open so many more files (0 or 1).
class NoMoreFiles {
  public:
    explicit NoMoreFiles(rlim_t more) {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        const Fd lowest_free(::dup(0));
        const rlimit now{static_cast<rlim_t>(lowest_free.get()) + more, before_.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &now);
    }
    NoMoreFiles(const NoMoreFiles&) = delete;
    NoMoreFiles& operator=(const NoMoreFiles&) = delete;
    ~NoMoreFiles() { ::setrlimit(RLIMIT_NOFILE, &before_); }

  private:
    rlimit before_{};
};

}  // namespace minions::testing
