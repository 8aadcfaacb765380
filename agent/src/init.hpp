#pragma once

#include "machine.hpp"

namespace minions::agent {

/// What the first process of a small guest does beside being the agent: mounts what every system has, reaps
/// orphans, ends the machine. Belongs to the loop's thread.
class Init {
  public:
    /// Mounts, brings lo up, takes over SIGCHLD and the machine's power. What cannot be done is told on the
    /// console and left: a guest that is half usable can be looked at.
    Init(Loop& loop, Machine& machine);

  private:
    void reap();
    void end(bool reboot);

    Loop& loop_;
    Fd signals_;
};

}  // namespace minions::agent
