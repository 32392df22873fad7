// A program that makes no CUDA call: prints its threads, its sockets, and whether the client
// library is in it.
#include <dirent.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstring>

namespace {

int entries(const char* folder) {
  int count = 0;
  DIR* open = opendir(folder);
  while (const dirent* entry = readdir(open)) count += entry->d_name[0] != '.';
  closedir(open);
  return count;
}

int sockets() {
  int count = 0;
  for (int fd = 0; fd < 1024; ++fd) {
    struct stat info;
    count += fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode);
  }
  return count;
}

bool mapped(const char* name) {
  char line[4096];
  bool found = false;
  FILE* maps = fopen("/proc/self/maps", "r");
  while (fgets(line, sizeof(line), maps) != nullptr) found |= strstr(line, name) != nullptr;
  fclose(maps);
  return found;
}

}  // namespace

int main() {
  std::printf("threads %d sockets %d stub %d client %d\n", entries("/proc/self/task"), sockets(),
              mapped("libfarwarp.so"), mapped("libfarwarp_client.so"));
}
