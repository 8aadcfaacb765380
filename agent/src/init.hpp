#pragma once

#include "machine.hpp"

#include <vector>

namespace minions::agent {

/// The first thing that the first process of a small guest does: mounts what every system has, loads modules,
/// enters the root file system that the kernel's command line names (see root.hpp; may not return), brings lo
/// up. What cannot be done is told on the console and left: a guest that is half usable can be looked at.
void prepare_system();

/// What that process does beside being the agent: reaps orphans, ends the machine when it is told to or
/// somebody presses the power button. Belongs to the loop's
/// thread.
class Init {
  public:
    /// Takes over SIGCHLD and the machine's power. Throws std::system_error.
    Init(Loop& loop, Machine& machine);

  private:
    void reap();
    void end(bool reboot);
    void watch_buttons();
    void read_button(int fd);

    Loop& loop_;
    Fd signals_;
    std::vector<Fd> buttons_;
};

}  // namespace minions::agent
