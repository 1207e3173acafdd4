#!/bin/sh
# Makes the files of this folder with ffmpeg (made with 5.1 of Debian 12). The tests need them and not ffmpeg.
set -eu
cd "$(dirname "$0")"
make() { ffmpeg -v error -y -fflags +bitexact "$@"; }
film="-f lavfi -i testsrc=duration=0.4:size=64x48:rate=10 -flags:v +bitexact"
voice="-f lavfi -i sine=duration=0.4:sample_rate=16000 -flags:a +bitexact"
short="-f lavfi -i sine=duration=0.05:sample_rate=16000 -flags:a +bitexact"

# Boxes: MP4, QuickTime, 3GP; whole, in fragments, sound alone.
make $voice -c:a aac -b:a 24k -f mp4 -brand mp42 voice.m4a
make $film -c:v libx264 -pix_fmt yuv420p film.mp4
make $film $voice -c:v libx264 -pix_fmt yuv420p -c:a aac -movflags +faststart both.mp4
make $film -c:v libx264 -pix_fmt yuv420p -movflags frag_keyframe+empty_moov+default_base_moof fragments.mp4
make $voice -c:a aac -b:a 24k -movflags frag_keyframe+empty_moov voice-fragments.mp4
make $film -c:v libx264 -pix_fmt yuv420p film.mov
make $short -c:a pcm_s16le voice.mov
make $film -c:v h263 -s 176x144 film.3gp
make $voice -ar 8000 -ac 1 -c:a aac -b:a 16k voice.3gp
# Matroska and WebM; as a browser records them their length is not stated.
make $film -c:v mpeg4 film.mkv
make $voice -c:a aac -b:a 24k voice.mka
make $film -c:v libvpx film.webm
make $voice -c:a libopus -b:a 16k voice.webm
make $film -c:v libvpx -live 1 recorded.webm
make $voice -c:a libopus -b:a 16k -live 1 voice-recorded.webm
# Ogg.
make $film -c:v libtheora film.ogv
make $film -c:v libvpx -f ogg film-vp8.ogv
make $voice -c:a libvorbis voice.ogg
make $voice -c:a libopus -b:a 16k voice.opus
make $short -c:a flac -f ogg voice.oga
make $voice -c:a libspeex voice.spx
# AVI, Windows Media, Flash, MPEG streams.
make $film -c:v mpeg4 film.avi
make $short -c:a pcm_s16le -f avi voice.avi
make $film film.wmv
make $short voice.wma
make $film -c:v flv film.flv
make $voice -ar 22050 -c:a libmp3lame -f flv voice.flv
make $film -c:v mpeg1video -r 25 -f mpeg film.mpg
make $short -ar 44100 -c:a mp2 -f mpeg voice.mpg
make $film -c:v libx264 -f mpegts film.ts
make $film -c:v libx264 -mpegts_m2ts_mode 1 -f mpegts film.m2ts
make $voice -c:a aac -b:a 24k -f mpegts voice.ts
# Sound alone.
make $short voice.wav
ffmpeg -v error -y -fflags +bitexact $short -f wav pipe:1 > streamed.wav
make $voice voice.mp3
make $short voice.flac
make $voice -b:a 24k voice.aac
make $short voice.aiff
make $short voice.au
make $short voice.caf
make $short voice.wv
make $short voice.tta
make $short voice.w64
make $short -ar 44100 -c:a ac3 voice.ac3
# Pictures.
for ending in jp2 jxl qoi exr pcx ppm sgi tga dpx ras; do
    make -f lavfi -i testsrc=size=16x12 -frames:v 1 "picture.$ending"
done
