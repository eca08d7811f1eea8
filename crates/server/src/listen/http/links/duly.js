// docs/links.md
customElements.define("duly-countdown", class extends HTMLElement {
	connectedCallback() {
		this.on = new AbortController()
		for (const name of ["online", "visibilitychange"])
			addEventListener(name, () => this.sync(), this.on)
		this.role = "timer"
		this.timer = setInterval(() => this.tick(performance.now()), 200)
		this.sync()
	}
	disconnectedCallback() {
		clearInterval(this.timer)
		this.on?.abort()
		this.es?.close()
		this.on = null
	}
	sync() {
		this.url = this.getAttribute("src")
		this.next = performance.now() + 2e3 + Math.random() * 2e3
		this.es?.close()
		this.es = new EventSource(this.url + "/events")
		this.es.onmessage = e => this.take(JSON.parse(e.data), 0)
		this.es.onerror = () => this.next = 0
	}
	async poll(now) {
		this.next = now + 5e3
		if (this.es.readyState > 1) this.sync()
		const r = await fetch(this.url, { signal: AbortSignal.timeout(4e3) })
		if (r.ok) this.take(await r.json(), (performance.now() - now) / 2)
		else if (/404|410/.test(r.status)) this.show("gone")
	}
	take(s, ago) {
		if (!this.on || s.server_time < this.last) return
		this.last = s.server_time
		const now = performance.now()
		this.next = now + (this.es.readyState == 1 ? 3e4 : 5e3)
		this.end = now - ago + s.remaining_ms
		this.show(s.frozen_until ? "frozen" : s.state, s)
	}
	tick(now) {
		if (Date.now() - this.wall > 3e3) this.sync()
		this.wall = Date.now()
		if (now > this.next) this.poll(now).catch(() => 0)
		if (!this.last) return
		const s = Math.max(0, Math.ceil((this.end - now) / 1e3))
		const text = [s / 3600, s / 60 % 60, s % 60].slice(s < 3600)
			.map(n => `${n | 0}`.padStart(2, 0)).join(":")
		if (text != this.textContent) this.textContent = text
	}
	show(state, detail) {
		if (this.state == state) return
		this.setAttribute("state", this.state = state)
		if (/^[slg]/.test(state)) {
			this.disconnectedCallback()
			this.ariaLive = "polite"
			this.textContent = this.getAttribute(state) ?? state
		}
		this.dispatchEvent(new CustomEvent("duly:" + state, { bubbles: 1, detail }))
	}
})
