/* /dev/video0 as a V4L2 capture device, preloaded into a process: FFmpeg's own V4L2 code runs against it.
 *
 * FAKE_CAMERA names a text file with its settings, one `name value` a line. It is read again at each call, so that a
 * test can unplug the camera while it is in use:
 *
 *   state   plugged, unplugged, busy (another program has it) or stalled (no frames, and no error either)
 *   sizes   640x480,1280x720: others are answered with the nearest one, as drivers do
 *   jpegs   folder with WIDTHxHEIGHT.jpg; the camera then has MJPEG in addition to YUYV
 *   fps     30
 *   error   5: each fifth frame carries the error flag and no data
 *   stop    20: stalled after that many frames of one opening
 *   unplug  20: unplugged after that many frames of one opening
 *
 * A frame is a ramp from dark to bright: all rows are alike, so a wrong size shows as rows that are not.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define NODE "/dev/video0"
#define CAMERAS 8
#define BUFFERS 8
#define PAGE 4096
#define MEMORY (BUFFERS * ((size_t)1920 * 1080 * 2 + PAGE))
#define NEXT(function) ((typeof(function) *)dlsym(RTLD_NEXT, #function))

struct camera {
    int fd, nonblocking, streaming, width, height, jpeg, frames;
    size_t buffer_size;
    uint8_t *memory;
    unsigned queue[BUFFERS], first, queued;
    double due;
};
static struct camera cameras[CAMERAS];

static const char *setting(const char *name, const char *otherwise) {
    static __thread char line[4096];
    const char *path = getenv("FAKE_CAMERA"), *found = otherwise;
    FILE *file = path ? fopen(path, "r") : NULL;
    size_t length = strlen(name);
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, name, length) && line[length] == ' ') {
            found = line + length + 1;
            break;
        }
    }
    if (file) fclose(file);
    return found;
}

static int number(const char *name, int otherwise) {
    const char *value = setting(name, NULL);
    return value ? atoi(value) : otherwise;
}

static int is(const char *state) { return !strcmp(setting("state", "plugged"), state); }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int failed(int error) {
    errno = error;
    return -1;
}

static struct camera *camera_of(int fd) {
    for (int i = 0; i < CAMERAS; i++)
        if (cameras[i].memory && cameras[i].fd == fd) return &cameras[i];
    return NULL;
}

static int in_use(const struct camera *asking) {
    for (int i = 0; i < CAMERAS; i++)
        if (cameras[i].memory && cameras[i].streaming && &cameras[i] != asking) return 1;
    return is("busy");
}

/* ---- the node ---- */

static int open_camera(int flags) {
    if (is("unplugged")) return failed(ENOENT);
    for (int i = 0; i < CAMERAS; i++) {
        struct camera *camera = &cameras[i];
        if (camera->memory) continue;
        int fd = memfd_create("camera", MFD_CLOEXEC);
        if (fd < 0 || ftruncate(fd, MEMORY)) return -1;
        memset(camera, 0, sizeof *camera);
        camera->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        camera->fd = fd;
        camera->nonblocking = !!(flags & O_NONBLOCK);
        return fd;
    }
    return failed(EMFILE);
}

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...) {                     \
        va_list more;                                                \
        va_start(more, flags);                                       \
        int mode = va_arg(more, int);                                \
        va_end(more);                                                \
        if (!strcmp(path, NODE)) return open_camera(flags);  \
        return NEXT(name)(path, flags, mode);                        \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    struct camera *camera = camera_of(fd);
    if (camera) {
        munmap(camera->memory, MEMORY);
        camera->memory = NULL;
    }
    return NEXT(close)(fd);
}

static int node_status(struct stat *status) {
    if (is("unplugged")) return failed(ENOENT);
    memset(status, 0, sizeof *status);
    status->st_mode = S_IFCHR | 0660;
    status->st_rdev = makedev(81, 0);
    return 0;
}
int stat(const char *path, struct stat *status) {
    return !strcmp(path, NODE) ? node_status(status) : NEXT(stat)(path, status);
}
int fstatat(int folder, const char *path, struct stat *status, int flags) {
    return !strcmp(path, NODE) ? node_status(status) : NEXT(fstatat)(folder, path, status, flags);
}
#if __WORDSIZE == 64
int stat64(const char *path, struct stat64 *status) { return stat(path, (struct stat *)status); }
int fstatat64(int folder, const char *path, struct stat64 *status, int flags) {
    return fstatat(folder, path, (struct stat *)status, flags);
}
#endif

/* ---- frames ---- */

static size_t paint(const struct camera *camera, uint8_t *pixels) {
    if (camera->jpeg) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%dx%d.jpg", setting("jpegs", ""), camera->width, camera->height);
        FILE *file = fopen(path, "rb");
        size_t read = file ? fread(pixels, 1, camera->buffer_size, file) : 0;
        if (file) fclose(file);
        return read;
    }
    for (int y = 0; y < camera->height; y++)
        for (int x = 0; x < camera->width; x++) {
            *pixels++ = 16 + x * 219 / camera->width;
            *pixels++ = 128;
        }
    return (size_t)camera->width * camera->height * 2;
}

static int give_frame(struct camera *camera, struct v4l2_buffer *buffer) {
    for (;;) {
        int unplug = number("unplug", 0);
        if (is("unplugged") || (unplug && camera->frames >= unplug)) return failed(ENODEV);
        if (!camera->streaming) return failed(EINVAL);
        int stop = number("stop", 0), stalled = is("stalled") || (stop && camera->frames >= stop);
        if (!stalled && camera->queued && now() >= camera->due) break;
        if (camera->nonblocking) return failed(EAGAIN);
        usleep(2000);
    }
    double interval = 1.0 / number("fps", 30);
    camera->due = now() > camera->due + 1 ? now() + interval : camera->due + interval;
    unsigned index = camera->queue[camera->first];
    camera->first = (camera->first + 1) % BUFFERS;
    camera->queued--;
    camera->frames++;
    int error = number("error", 0);
    buffer->index = index;
    buffer->length = camera->buffer_size;
    buffer->sequence = camera->frames;
    buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    buffer->timestamp.tv_sec = (time_t)now();
    buffer->timestamp.tv_usec = (now() - (time_t)now()) * 1e6;
    if (error && camera->frames % error == 0) {
        buffer->flags |= V4L2_BUF_FLAG_ERROR;
        buffer->bytesused = 0;
    } else {
        buffer->bytesused = paint(camera, camera->memory + index * camera->buffer_size);
    }
    return 0;
}

/* ---- what it can do ---- */

static void nearest_size(int *width, int *height) {
    char sizes[256], *rest = sizes, *size;
    int best = -1, asked_width = *width, asked_height = *height;
    snprintf(sizes, sizeof sizes, "%s", setting("sizes", "640x480,1280x720"));
    while ((size = strsep(&rest, ","))) {
        int wide, high;
        if (sscanf(size, "%dx%d", &wide, &high) != 2) continue;
        int distance = abs(wide - asked_width) + abs(high - asked_height);
        if (best < 0 || distance < best) best = distance, *width = wide, *height = high;
    }
}

static int set_format(struct camera *camera, struct v4l2_format *format, unsigned request) {
    struct v4l2_pix_format *pix = &format->fmt.pix;
    if (format->type != V4L2_BUF_TYPE_VIDEO_CAPTURE) return failed(EINVAL);
    if (request == (unsigned)VIDIOC_S_FMT && in_use(camera)) return failed(EBUSY);
    int width = pix->width, height = pix->height;
    int jpeg = setting("jpegs", NULL) && pix->pixelformat == V4L2_PIX_FMT_MJPEG;
    if (request == (unsigned)VIDIOC_G_FMT) width = camera->width, height = camera->height, jpeg = camera->jpeg;
    nearest_size(&width, &height);
    if (request == (unsigned)VIDIOC_S_FMT) camera->width = width, camera->height = height, camera->jpeg = jpeg;
    pix->width = width;
    pix->height = height;
    pix->pixelformat = jpeg ? V4L2_PIX_FMT_MJPEG : V4L2_PIX_FMT_YUYV;
    pix->field = V4L2_FIELD_NONE;
    pix->bytesperline = jpeg ? 0 : width * 2;
    pix->sizeimage = width * height * 2;
    return 0;
}

static int request_buffers(struct camera *camera, struct v4l2_requestbuffers *buffers) {
    size_t bytes = (size_t)camera->width * camera->height * 2;
    camera->buffer_size = (bytes + PAGE - 1) / PAGE * PAGE;
    camera->first = camera->queued = 0;
    if (buffers->count > BUFFERS) buffers->count = BUFFERS;
    return 0;
}

static int answer(struct camera *camera, unsigned request, void *argument) {
    static const unsigned formats[] = {V4L2_PIX_FMT_YUYV, V4L2_PIX_FMT_MJPEG};
    if (is("unplugged")) return failed(ENODEV);
    switch (request) {
    case (unsigned)VIDIOC_QUERYCAP: {
        struct v4l2_capability *can = argument;
        memset(can, 0, sizeof *can);
        strcpy((char *)can->card, "Fake Camera");
        can->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        can->capabilities = can->device_caps | V4L2_CAP_DEVICE_CAPS;
        return 0;
    }
    case (unsigned)VIDIOC_ENUM_FMT: {
        struct v4l2_fmtdesc *format = argument;
        if (format->index > (setting("jpegs", NULL) ? 1 : 0)) return failed(EINVAL);
        format->pixelformat = formats[format->index];
        return 0;
    }
    case (unsigned)VIDIOC_ENUMINPUT: {
        struct v4l2_input *input = argument;
        if (input->index) return failed(EINVAL);
        input->std = 0;
        return 0;
    }
    case (unsigned)VIDIOC_G_INPUT: *(int *)argument = 0; return 0;
    case (unsigned)VIDIOC_S_INPUT: return 0;
    case (unsigned)VIDIOC_G_FMT:
    case (unsigned)VIDIOC_S_FMT:
    case (unsigned)VIDIOC_TRY_FMT: return set_format(camera, argument, request);
    case (unsigned)VIDIOC_G_PARM:
    case (unsigned)VIDIOC_S_PARM: {
        struct v4l2_captureparm *capture = &((struct v4l2_streamparm *)argument)->parm.capture;
        capture->capability = V4L2_CAP_TIMEPERFRAME;
        capture->timeperframe = (struct v4l2_fract){1, number("fps", 30)};
        return 0;
    }
    case (unsigned)VIDIOC_REQBUFS: return request_buffers(camera, argument);
    case (unsigned)VIDIOC_QUERYBUF: {
        struct v4l2_buffer *buffer = argument;
        buffer->length = camera->buffer_size;
        buffer->m.offset = buffer->index * camera->buffer_size;
        return 0;
    }
    case (unsigned)VIDIOC_QBUF:
        camera->queue[(camera->first + camera->queued++) % BUFFERS] = ((struct v4l2_buffer *)argument)->index;
        return 0;
    case (unsigned)VIDIOC_STREAMON:
        camera->streaming = 1;
        camera->due = now();
        return 0;
    case (unsigned)VIDIOC_STREAMOFF: camera->streaming = 0; return 0;
    case (unsigned)VIDIOC_DQBUF: return give_frame(camera, argument);
    }
    return failed(ENOTTY);
}

int ioctl(int fd, unsigned long request, ...) {
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    struct camera *camera = camera_of(fd);
    return camera ? answer(camera, request, argument) : NEXT(ioctl)(fd, request, argument);
}
