#pragma once

#include "machine.hpp"

namespace minions::agent {

/// The first thing that the first process of a small guest does: mounts what every system has, loads modules,
/// brings lo up. What cannot be done is told on the console and left: a guest that is half usable can be
/// looked at.
void prepare_system();

/// What that process does beside being the agent: reaps orphans, ends the machine. Belongs to the loop's
/// thread.
class Init {
  public:
    /// Takes over SIGCHLD and the machine's power. Throws std::system_error.
    Init(Loop& loop, Machine& machine);

  private:
    void reap();
    void end(bool reboot);

    Loop& loop_;
    Fd signals_;
};

}  // namespace minions::agent
