# The demo:    docker build -t pada-agent . && docker run --rm -v pada-cache:/home/pada/.cache -v pada-runs:/home/pada/pada-agent/runs pada-agent
# Its report:  docker run --rm -v pada-runs:/home/pada/pada-agent/runs pada-agent cat runs/demo/report.html > report.html
# A run:       docker run --rm --user "$(id -u):$(id -g)" -v "$PWD":/work -w /work -e HOME=/work/.home -e OPENAI_API_KEY pada-agent pada run mytask.yaml
#              Before it, in the same way: pada models pull all-mpnet-base-v2; after a stop: pada resume runs/mytask. All that is
#              written is in $PWD and yours: runs, models, and the record of where keys were sent (in .home).
# The server:  the demo's line with -p 127.0.0.1:2024:2024, and after the image: langgraph dev --host 0.0.0.0 --no-browser --no-reload
#
# Model-written code is confined by Landlock and seccomp inside the container too; `pada check` says what is confined.
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git libgomp1 make tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home pada \
    && chmod 755 /home/pada

USER pada
WORKDIR /home/pada/pada-agent
ENV PATH=/home/pada/pada-agent/.venv/bin:$PATH PYTHONUNBUFFERED=1 USER=pada

# What is installed changes seldom, so it comes first. torch is the CPU build; for CUDA give another --build-arg TORCH_INDEX.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --chown=pada constraints.txt ./
RUN python -m venv .venv \
    && pip install --no-cache-dir --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple torch==2.13.0 -c constraints.txt

COPY --chown=pada . .
RUN pip install --no-cache-dir -e '.[studio,providers,data]' -c constraints.txt \
    && mkdir --parents runs /home/pada/.cache

# As process 1, sh would ignore Ctrl-C and `docker stop`. tini passes their signals on to its child, which `exec` makes pada itself.
ENTRYPOINT ["tini", "--"]
CMD ["sh", "-c", "pada models pull smollm2-135m-instruct qwen2.5-coder-1.5b-instruct all-mpnet-base-v2 && exec pada run configs/demo.yaml"]
